"""Two rankings as one, where one of them counts for more.

This is done here and not by the engines: Qdrant knows weights since 1.17, older servers ignore them, and what is done
once is the same everywhere. The formula is Qdrant's own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from t1_vectorstore.engines import RRF_K
from t1_vectorstore.types import Hit

_DIGITS = 12
"""Scores that differ less are equal, but for the order in which they were added up."""


def fuse(rankings: Sequence[tuple[float, Sequence[Hit]]]) -> list[Hit]:
    """Weighted reciprocal rank fusion: the hits of all rankings, best first; equals in the order of their ids.

    A ranking's hit on place ``n``, from 1 on, adds ``1 / (n / w + k - 1)``, where ``w`` is 1 where all weigh the same.

    Args:
        rankings: each with its share in the whole, over 0; the shares add up to 1.
    """
    scores: dict[str, float] = defaultdict(float)
    hits: dict[str, Hit] = {}
    for share, ranking in rankings:
        weight = share * len(rankings)
        for place, hit in enumerate(ranking, 1):
            scores[hit.id] += 1 / (place / weight + RRF_K - 1)
            hits.setdefault(hit.id, hit)
    return sorted(hits.values(), key=lambda hit: (-round(scores[hit.id], _DIGITS), hit.id))
