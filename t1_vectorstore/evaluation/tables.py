"""The figures of an experiment as a table of text, for terminals, Markdown and the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from t1_vectorstore.evaluation.experiment import Experiment
from t1_vectorstore.evaluation.scoring import HIT

SystemFigures = Mapping[str, Any]
"""One of ``Experiment.rows``."""


def markdown(experiment: Experiment) -> str:
    """Return the table as Markdown."""
    cells = columns(experiment.rows(), experiment.measures)
    rows = [" | ".join(row) for row in zip(*cells.values(), strict=True)]
    return "\n".join(
        [f"| {' | '.join(cells)} |", f"|{'|'.join('---' for _ in cells)}|", *(f"| {row} |" for row in rows)]
    )


def columns(rows: Sequence[SystemFigures], measures: Sequence[str]) -> dict[str, list[str]]:
    """Return the cells of every column by its title, without empty columns.

    Intervals are 95%, by the paired bootstrap over queries.

    Args:
        rows: Figures of the systems.
        measures: Names of the measures to include.
    """
    first = rows[0]["system"]
    cell_of: dict[str, Callable[[SystemFigures], str]] = {"system": lambda row: str(row["system"])}
    cell_of |= {measure: partial(_measure, measure) for measure in measures}
    cell_of |= {
        f"{first} minus this": lambda row: _format("{mean:+.3f} [{low:+.3f}, {high:+.3f}]", row["first_minus_this"]),
        "better / worse on": lambda row: _format("{wins} / {losses}", row["first_minus_this"]),
        f"{HIT}, {first} over this": lambda row: _ratio(row["first_over_this"]),
        f"cosine with {first}": lambda row: _number(row["cosine_with_first"], ".3f"),
        "exact thoughts": lambda row: _number(row["exact_thoughts"], ".1%"),
        "thought tokens": lambda row: f"{row['thought_tokens']:.1f}",
        "s / query": lambda row: f"{row['seconds']:.4f}",
    }
    cells = {title: [cell(row) for row in rows] for title, cell in cell_of.items()}
    return {title: column for title, column in cells.items() if any(column)}


def _measure(measure: str, row: SystemFigures) -> str:
    between = " [{:.3f}, {:.3f}]".format(*row["intervals"][measure]) if measure in row["intervals"] else ""
    return f"{row[measure]:.3f}{between}"


def _format(template: str, found: Mapping[str, Any] | None) -> str:
    return template.format(**found) if found else ""


def _ratio(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    high = "∞" if found["high"] is None else f"{found['high']:.2f}"
    return f"{found['ratio']:.2f} x [{found['low']:.2f}, {high}]"


def _number(value: float | None, spec: str) -> str:
    return "" if value is None else format(value, spec)
