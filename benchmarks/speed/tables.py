"""Create the tables in the README from the results, so that they always agree."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks.speed.rows import LEAST_COSINE, Row, ratio_of, same_work
from benchmarks.speed.targets import targets

NAMES = {
    "t1": "**this package**",
    "vllm-pooling": "vLLM, pooling",
    "vllm-generate": "vLLM, text without a vector",
    "transformers": "`generate`, then a second pass",
    "gemm": "the linear layers alone",
    "bandwidth": "reading the weights once per token",
}

ALWAYS = ("machine", "targets")
LIMITS = ("gemm", "bandwidth")


def render(results: Mapping[str, Any]) -> dict[str, str]:
    """Return a Markdown table for each section of the results."""
    return {name: table(results) for name, table in TABLES.items() if name in results or name in ALWAYS}


def insert(readme: str, rendered: Mapping[str, str]) -> str:
    """Insert each table into the README, between its two markers.

    Raises:
        ValueError: A marker is missing.
    """
    for name, table in rendered.items():
        pattern = rf"(<!-- speed: {name} -->\n).*?(<!-- end -->)"
        readme, count = re.subn(pattern, lambda found, t=table: f"{found[1]}{t}\n{found[2]}", readme, flags=re.DOTALL)
        if count != 1:
            raise ValueError(f"the README has {count} places for the table {name!r} instead of one")
    return readme


def _machine(results: Mapping[str, Any]) -> str:
    machine = results["machine"]
    versions = {row["contender"]: row["version"] for row in _rows(results) if row.get("version")}
    named = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['threads']} thread(s) for each contender, medians of "
        f"{results['rounds']} alternating rounds. Versions: {named}."
    )


def _targets(results: Mapping[str, Any]) -> str:
    lines = targets(results)
    return _table(
        ["", "measured", "target", ""],
        [
            [
                *(line.what, f"{line.value:.2f}{line.unit}"),
                *(f"{'≤' if line.most else '≥'} {line.goal}{line.unit}", "met" if line.met else "**missed**"),
            ]
            for line in lines
        ],
    )


def _documents(results: Mapping[str, Any]) -> str:
    rows = results["documents"]
    return _table(
        ["model", "dtype", "", "tokens per CPU second", "this package is", "lowest cosine"],
        [
            [row["model"], row["dtype"], _name(row), *_speed(row, same_work(rows, row)), _number(row.get("cosine"), 5)]
            for row in rows
        ],
    )


def _thoughts(results: Mapping[str, Any]) -> str:
    rows = [row for row in results["thoughts"] if row.get("case") != "vector"]
    return (
        _table(
            [
                "model",
                "dtype",
                "batch",
                "",
                "tokens per CPU second",
                "this package is",
                "lowest cosine",
                "regret",
            ],
            [
                [
                    *(
                        row["model"],
                        row["dtype"],
                        row.get("case", "any"),
                        _name(row),
                        *_speed(row, same_work(rows, row)),
                    ),
                    *(_number(row.get("cosine"), 5), _number(row.get("regret"), 3)),
                ]
                for row in rows
            ],
        )
        + "\n\n"
        + _table(
            ["model", "dtype", "decode steps for the vector of a thought that the model closed", "that its budget cut"],
            [
                [row["model"], row["dtype"], *(f"{median(row[end]):.2f}" for end in ("closed", "cut"))]
                for row in results["thoughts"]
                if row.get("case") == "vector"
            ],
        )
    )


def _memory(results: Mapping[str, Any]) -> str:
    return _table(
        ["model", "dtype", "tokens", "peak memory beyond the loaded model"],
        [[r["model"], r["dtype"], f"{r['tokens']:,}", f"{r['bytes'] / 1e6:,.0f} MB"] for r in results["memory"]],
    )


def _search(results: Mapping[str, Any]) -> str:
    return _table(
        ["documents", "CPU seconds", "wall seconds", "of which imports"],
        [
            [f"{row['documents']:,}", *(f"{median(row[part]):.2f}" for part in ("cpu", "wall", "imports"))]
            for row in results["search"]
        ],
    )


def _accelerator(results: Mapping[str, Any]) -> str:
    rows = results["accelerator"]
    if all("skipped" in row for row in rows):
        return f"Not measured: {rows[0]['skipped']}."
    return _table(
        ["", "", "tokens per second", "accelerator"],
        [
            [row["case"], _name(row), f"{row['tokens'] / median(row['wall']):,.0f}", row.get("about", "")]
            for row in rows
        ],
    )


def _speed(row: Row, ours: Row | None) -> list[str]:
    """Return tokens per CPU second, and how much faster this package is: the median of the ratios of all rounds."""
    if "skipped" in row:
        return ["not measured", row["skipped"]]
    if row.get("cosine", 1) < LEAST_COSINE:
        return ["wrong vectors", ""]
    speed = f"{row['tokens'] / median(row['cpu']):,.0f}"
    if ours is None or ours is row:
        return [speed, ""]
    ratio = ratio_of(row, ours)
    return [speed, f"at {ratio:.0%} of this limit" if row["contender"] in LIMITS else f"{ratio:.2f} x as fast"]


def _name(row: Row) -> str:
    return NAMES.get(row["contender"], row["contender"])


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _rows(results: Mapping[str, Any]) -> list[Row]:
    return [row for name in TABLES if name not in ALWAYS for row in results.get(name, [])]


def _table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(row)} |".replace("|  |", "| |") for row in rows)


TABLES = {
    "machine": _machine,
    "targets": _targets,
    "documents": _documents,
    "thoughts": _thoughts,
    "memory": _memory,
    "search": _search,
    "accelerator": _accelerator,
}
