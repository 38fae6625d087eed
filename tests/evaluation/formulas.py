"""Retrieval measures by their definitions, to compare trec_eval's scores with."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence


def ndcg(ranking: Sequence[str], relevant: Mapping[str, float], k: int) -> float:
    """Return the linear gains discounted by ``log2(rank + 1)``, divided by those of the best possible ranking."""
    found = (relevant.get(name, 0.0) for name in ranking[:k])
    return _discounted(found) / _discounted(sorted(relevant.values(), reverse=True)[:k])


def hit(ranking: Sequence[str], relevant: Mapping[str, float], k: int) -> float:
    """Return 1 if a relevant document is among the first ``k``, else 0."""
    return float(any(name in relevant for name in ranking[:k]))


def recall(ranking: Sequence[str], relevant: Mapping[str, float], k: int) -> float:
    """Return the share of the relevant documents that are among the first ``k``."""
    return sum(name in relevant for name in ranking[:k]) / len(relevant)


def _discounted(gains: Iterable[float]) -> float:
    return math.fsum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, 1))
