"""The rewards of stage 3 as pure functions of numbers.

The only public reward of T1's group (MQR-A1) is dense-retrieval nDCG, a length penalty, and the cosine to the positives
as shaping. The shape of each term, and its weight, are defaults of ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

TOP = 10
"""Ranks that are worth something."""


def discounted_rank(rank: int) -> float:
    """``1 / log2(1 + rank)`` for the first ten ranks, counted from 1; 0 below. One positive's nDCG@10.

    Raises:
        ValueError: ``rank`` is below 1.
    """
    if rank < 1:
        raise ValueError(f"ranks are counted from 1, got {rank!r}")
    return 1.0 / math.log2(1 + rank) if rank <= TOP else 0.0


def ndcg(ranks: Sequence[int]) -> float:
    """nDCG@10 of a query whose right documents, all of them, have these ranks; :func:`discounted_rank` for one.

    Raises:
        ValueError: There are no ranks, or one is below 1.
    """
    if not ranks:
        raise ValueError("a query without right documents has no reward")
    ideal = math.fsum(discounted_rank(rank) for rank in range(1, min(len(ranks), TOP) + 1))
    return math.fsum(map(discounted_rank, ranks)) / ideal


def margin(best_positive: float, best_negative: float, width: float = 0.1) -> float:
    """``sigmoid((best positive - best negative) / width)``, of cosines: it still grows where the rank is already 1."""
    return 1.0 / (1.0 + math.exp(-(best_positive - best_negative) / width))


def too_long(tokens: int, free: int, budget: int) -> float:
    """How much of the room between ``free`` and ``budget`` tokens a thought takes, from 0 to 1.

    Raises:
        ValueError: ``budget`` is not above ``free``.
    """
    if budget <= free:
        raise ValueError(f"the budget of {budget!r} tokens must be above the {free!r} that are free")
    return min(1.0, max(0.0, (tokens - free) / (budget - free)))
