"""An experiment's figures in words, column by column: the same for terminals, Markdown and the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from t1_vectorstore.evaluation.experiment import Experiment
from t1_vectorstore.evaluation.scoring import HIT

Row = Mapping[str, Any]


def markdown(experiment: Experiment) -> str:
    """The table as Markdown; what :func:`columns` says of it."""
    found = columns(experiment.rows(), experiment.measures)
    lines = [" | ".join(found), "|".join("---" for _ in found), *map(" | ".join, zip(*found.values(), strict=True))]
    return "\n".join(f"| {line} |" if place != 1 else f"|{line}|" for place, line in enumerate(lines))


def columns(rows: Sequence[Row], measures: Sequence[str]) -> dict[str, list[str]]:
    """The cells of every column by its head; columns that would be empty are left out.

    Intervals are 95%, by the paired bootstrap over queries.

    Args:
        rows: of :meth:`Experiment.rows`.
        measures: to be shown.
    """
    first = rows[0]["system"]
    shown: dict[str, Callable[[Row], str]] = {"system": lambda row: str(row["system"])}
    shown |= {measure: partial(_measure, measure) for measure in measures}
    shown |= {
        f"{first} minus this": lambda row: _difference(row["first_minus_this"]),
        "better / worse on": lambda row: _counts(row["first_minus_this"]),
        f"{HIT}, {first} over this": lambda row: _ratio(row["first_over_this"]),
        f"cosine with {first}": lambda row: _number(row["cosine_with_first"], ".3f"),
        "exact thoughts": lambda row: _number(row["exact_thoughts"], ".1%"),
        "thought tokens": lambda row: f"{row['thought_tokens']:.1f}",
        "s / query": lambda row: f"{row['seconds']:.4f}",
    }
    cells = {head: [cell(row) for row in rows] for head, cell in shown.items()}
    return {head: column for head, column in cells.items() if any(column)}


def _measure(measure: str, row: Row) -> str:
    between = " [{:.3f}, {:.3f}]".format(*row["intervals"][measure]) if measure in row["intervals"] else ""
    return f"{row[measure]:.3f}{between}"


def _difference(found: Mapping[str, Any] | None) -> str:
    return "{mean:+.3f} [{low:+.3f}, {high:+.3f}]".format(**found) if found else ""


def _counts(found: Mapping[str, Any] | None) -> str:
    return "{wins} / {losses}".format(**found) if found else ""


def _ratio(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    high = "∞" if found["high"] is None else f"{found['high']:.2f}"
    return f"{found['ratio']:.2f} x [{found['low']:.2f}, {high}]"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
