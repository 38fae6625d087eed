"""Reading the results: each is a row of one contender's figures for one piece of work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

Row = Mapping[str, Any]
LEAST_COSINE = 0.98
"""Below it, something other than rounding is at work, and speed means nothing."""


def fit(row: Row) -> bool:
    """Whether a row's figures may be compared: all rounds done, and the vectors right."""
    return bool(row["cpu"]) and "skipped" not in row and row.get("cosine", 1) >= LEAST_COSINE


def same_work(rows: Sequence[Row], row: Row) -> Row | None:
    """This package's row for the same work as another's."""
    keys = ("model", "dtype", "case")
    return next((r for r in rows if r["contender"] == "t1" and all(r.get(k) == row.get(k) for k in keys)), None)


def ratio_of(row: Row, ours: Row) -> float:
    """How many times as long as this package a contender took: the median of the rounds' own ratios."""
    return median(theirs / mine for theirs, mine in zip(row["cpu"], ours["cpu"], strict=True))
