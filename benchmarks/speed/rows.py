"""Compare rows of the results. A row has the figures of one contender for one piece of work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

Row = Mapping[str, Any]
LEAST_COSINE = 0.98
"""Vectors below this cosine are wrong by more than rounding, and their speed means nothing."""


def is_comparable(row: Row) -> bool:
    """Whether a row can be compared: it has all rounds, and its vectors are right."""
    return bool(row["cpu"]) and "skipped" not in row and row.get("cosine", 1) >= LEAST_COSINE


def same_work(rows: Sequence[Row], row: Row) -> Row | None:
    """Return this package's row for the same work."""
    keys = ("model", "dtype", "case")
    return next((r for r in rows if r["contender"] == "t1" and all(r.get(k) == row.get(k) for k in keys)), None)


def ratio_of(row: Row, ours: Row) -> float:
    """Return how many times as long as this package a contender took: the median of the ratios of all rounds."""
    return median(theirs / mine for theirs, mine in zip(row["cpu"], ours["cpu"], strict=True))
