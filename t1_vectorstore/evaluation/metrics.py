"""Retrieval metrics as pure functions of one query's ranking.

``ranking`` is document ids, best first, without repetition; ``relevant`` maps the ids of the right documents to their
gain, a number above zero. Ids that ``relevant`` lacks have gain 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence


def ndcg(ranking: Sequence[str], relevant: Mapping[str, float], k: int) -> float:
    """Discounted cumulative gain of the first ``k``, over that of the best possible ranking; between 0 and 1.

    The gain is linear and the discount ``log2(rank + 1)``, as in trec_eval's ``ndcg_cut``.

    Raises:
        ValueError: ``k`` is below 1, an id occurs twice, or nothing is relevant.
    """
    _check(ranking, relevant, k)
    found = (relevant.get(identifier, 0.0) for identifier in ranking[:k])
    best = sorted(relevant.values(), reverse=True)[:k]
    return _discounted(found) / _discounted(best)


def hit(ranking: Sequence[str], relevant: Mapping[str, float], k: int) -> float:
    """1 if a right document is among the first ``k``, else 0. Raises as :func:`ndcg`."""
    _check(ranking, relevant, k)
    return float(any(identifier in relevant for identifier in ranking[:k]))


def recall(ranking: Sequence[str], relevant: Mapping[str, float], k: int) -> float:
    """Share of the right documents that are among the first ``k``. Raises as :func:`ndcg`."""
    _check(ranking, relevant, k)
    return sum(identifier in relevant for identifier in ranking[:k]) / len(relevant)


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean.

    Raises:
        ValueError: There are no values.
    """
    if not values:
        raise ValueError("no values to average: the split is empty")
    return math.fsum(values) / len(values)


def standard_error(values: Sequence[float]) -> float:
    """Standard error of the mean, from the sample standard deviation; 0 for a single value. Raises as :func:`mean`."""
    if len(values) == 1:
        return 0.0
    centre = mean(values)
    variance = math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1)
    return math.sqrt(variance / len(values))


def _discounted(gains: Iterable[float]) -> float:
    return math.fsum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, 1))


def _check(ranking: Sequence[str], relevant: Mapping[str, float], k: int) -> None:
    if k < 1:
        raise ValueError(f"the cut must be at least 1, got {k!r}")
    if not relevant or min(relevant.values()) <= 0:
        raise ValueError(f"relevant needs documents, each with a gain above zero, got {dict(relevant)!r}")
    if len(set(ranking)) != len(ranking):
        raise ValueError("a document occurs twice in the ranking: keep its best rank only")
