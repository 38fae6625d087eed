"""The speed that the package should reach, and what was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.speed.rows import Row, is_comparable, ratio_of, same_work

ON_H200 = {"documents": 45_000, "64 thoughts": 12_000}
"""Tokens per second for a model of the size 4B in bfloat16."""
THOUGHTS = {"transformers": {"32": 2.0, "8": 2.0, "1": 1.5}, "vllm-generate": {"32": 1.0, "8": 1.0, "1": 1.0}}


@dataclass(frozen=True)
class Target:
    """A measured value that should be at least the goal, or with ``most`` at most the goal."""

    what: str
    value: float
    goal: float
    unit: str = " x"
    most: bool = False

    @property
    def met(self) -> bool:
        """Whether the value, as rounded in the table, reaches the goal."""
        value = round(self.value, 2)
        return value <= self.goal if self.most else value >= self.goal


def targets(results: Mapping[str, Any]) -> list[Target]:
    """Return all targets with figures, in the order of the README."""
    found: list[Target] = []
    for section, lines in LINES.items():
        found += lines(results.get(section, []))
    return found


def _documents(rows: Sequence[Row]) -> Iterator[Target]:
    goals = {"sentence-transformers": 1.6, "vllm-pooling": 1.0}
    for row in rows:
        if (ours := _against(rows, row)) is None:
            continue
        if row["contender"] in goals:
            what = f"documents, {row['model']} {row['dtype']}, against {row['contender']}"
            yield Target(what, ratio_of(row, ours), goals[row["contender"]])
        if row["contender"] == "gemm":
            what = f"documents, {row['model']} {row['dtype']}, share of the linear layers' limit"
            yield Target(what, ratio_of(row, ours), 0.7, "")
        best = same_work(rows, {**row, "dtype": "bfloat16"})
        if row["contender"] == "sentence-transformers" and row["dtype"] == "float32" and best and is_comparable(best):
            what = f"documents, {row['model']} bfloat16, against sentence-transformers in float32"
            yield Target(what, ratio_of(row, best), 4.0)


def _thoughts(rows: Sequence[Row]) -> Iterator[Target]:
    for row in rows:
        goal = THOUGHTS.get(row["contender"], {}).get(row.get("case", ""))
        if goal is not None and (ours := _against(rows, row)) is not None:
            what = f"thoughts, {row['model']} {row['dtype']}, batch {row['case']}, against {row['contender']}"
            yield Target(what, ratio_of(row, ours), goal)
        if row.get("case") == "vector":
            for end in ("closed", "cut"):
                what = f"the vector after a thought that is {end}, {row['model']} {row['dtype']}"
                yield Target(what, median(row[end]), 1.0, " steps", most=True)


def _memory(rows: Sequence[Row]) -> Iterator[Target]:
    for row in rows:
        yield Target(f"memory of {row['tokens']:,} tokens, {row['model']}", row["bytes"] / 1e9, 1.5, " GB", most=True)


def _search(rows: Sequence[Row]) -> Iterator[Target]:
    for row in rows:
        yield Target("first search, CPU time", median(row["cpu"]), 2.5, " s", most=True)
        yield Target("first search, of which imports", median(row["imports"]), 1.5, " s", most=True)


def _accelerator(rows: Sequence[Row]) -> Iterator[Target]:
    for row in rows:
        goal = ON_H200.get(row.get("case", ""))
        if row.get("contender") == "t1" and goal and "H200" in row["about"] and is_comparable(row):
            what = f"{row['case']}, {row['model']} {row['dtype']}, on {row['about']}"
            yield Target(what, row["tokens"] / median(row["wall"]), goal, " tokens/s")


def _against(rows: Sequence[Row], row: Row) -> Row | None:
    """Return this package's row for the same work, if both rows can be compared."""
    ours = same_work(rows, row)
    return ours if ours is not None and all(is_comparable(each) for each in (ours, row)) else None


LINES: dict[str, Callable[[Sequence[Row]], Iterator[Target]]] = {
    "documents": _documents,
    "thoughts": _thoughts,
    "memory": _memory,
    "search": _search,
    "accelerator": _accelerator,
}
