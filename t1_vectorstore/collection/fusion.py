"""Weighted reciprocal rank fusion of rankings.

It is computed here because Qdrant has weights only since version 1.17, and older servers ignore them. The formula is
Qdrant's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from t1_vectorstore.engines import RRF_K
from t1_vectorstore.types import Hit

_DIGITS = 12
"""Scores are equal if they agree in these decimals; beyond, they depend on the order of the additions."""


def fuse(rankings: Sequence[tuple[float, Sequence[Hit]]]) -> list[Hit]:
    """Return the hits of all rankings, best first; equal ones in the order of their ids.

    A hit at position ``n`` of a ranking, counted from 1, adds ``1 / (n / w + k - 1)``; the weight ``w`` is 1 if all
    rankings have the same share.

    Args:
        rankings: The share of each ranking, over 0, and its hits. The shares add up to 1.
    """
    scores: dict[str, float] = defaultdict(float)
    hits: dict[str, Hit] = {}
    for share, ranking in rankings:
        weight = share * len(rankings)
        for position, hit in enumerate(ranking, 1):
            scores[hit.id] += 1 / (position / weight + RRF_K - 1)
            hits.setdefault(hit.id, hit)
    return sorted(hits.values(), key=lambda hit: (-round(scores[hit.id], _DIGITS), hit.id))
