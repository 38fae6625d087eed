"""Retrieval measures worked out by their definitions, to hold trec_eval's figures against."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence


def ndcg(ranking: Sequence[str], relevant: Mapping[str, float], k: int) -> float:
    """Linear gains, discounted by ``log2(rank + 1)``, over those of the best possible ranking."""
    found = (relevant.get(name, 0.0) for name in ranking[:k])
    return _discounted(found) / _discounted(sorted(relevant.values(), reverse=True)[:k])


def hit(ranking: Sequence[str], relevant: Mapping[str, float], k: int) -> float:
    """Whether a right document is among the first ``k``."""
    return float(any(name in relevant for name in ranking[:k]))


def recall(ranking: Sequence[str], relevant: Mapping[str, float], k: int) -> float:
    """Share of the right documents that are among the first ``k``."""
    return sum(name in relevant for name in ranking[:k]) / len(relevant)


def _discounted(gains: Iterable[float]) -> float:
    return math.fsum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, 1))
