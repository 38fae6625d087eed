"""The report: one HTML file that needs nothing else, for people who want to see more than a table."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from t1_vectorstore import __version__
from t1_vectorstore.errors import MissingExtraError
from t1_vectorstore.evaluation.experiment import Experiment
from t1_vectorstore.evaluation.tables import columns

TEMPLATE = "report.html.j2"
SHOWN = 15
"""Queries that are shown as wins, and as many as losses."""


@dataclass(frozen=True)
class Case:
    """A query on which two systems differ.

    Attributes:
        query: its text.
        first: the first system's score.
        other: the other's.
        thoughts: the first system's.
        other_thoughts: the other's.
        gold: ids of what was to be found, with the ranks that the two gave them; None for "not found".
    """

    query: str
    first: float
    other: float
    thoughts: Sequence[str]
    other_thoughts: Sequence[str]
    gold: Sequence[tuple[str, int | None, int | None]]


def write_report(experiments: Sequence[Experiment], path: Path, *, facts: Mapping[str, Any] | None = None) -> None:
    """Write the report.

    Args:
        experiments: what was measured, such as the splits of a benchmark.
        path: the HTML file.
        facts: what else the reader should know, such as the model and the command.

    Raises:
        MissingExtraError: the ``eval`` extra is not installed.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ModuleNotFoundError as error:
        raise MissingExtraError("eval", "the report") from error
    environment = Environment(
        loader=PackageLoader("t1_vectorstore.evaluation", "."), autoescape=True, undefined=StrictUndefined
    )
    page = environment.get_template(TEMPLATE).render(
        title=", ".join(experiment.benchmark.name for experiment in experiments),
        facts={
            **(facts or {}),
            "t1-vectorstore": __version__,
            "made": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        },
        parts=[_part(experiment) for experiment in experiments],
    )
    path.write_text(page, encoding="utf-8")


def _part(experiment: Experiment) -> dict[str, Any]:
    """What the page shows of one experiment."""
    names, rows, measures = list(experiment.outcomes), experiment.rows(), experiment.measures
    shown = columns(rows, measures)
    return {
        "benchmark": experiment.benchmark,
        "heads": list(shown),
        "lines": list(zip(*shown.values(), strict=True)),
        "frontier": _frontier(rows, measures[0]),
        "duels": [(name, *_duel(experiment, name, measures[0])) for name in names[1:]],
        "first": names[0],
    }


def _duel(experiment: Experiment, other: str, measure: str) -> tuple[str, list[Case], list[Case]]:
    """How ranks moved between the first system and another, and the queries that gained and lost the most."""
    cases = _cases(experiment, other, measure)
    wins = sorted((case for case in cases if case.first > case.other), key=lambda case: case.other - case.first)
    losses = sorted((case for case in cases if case.first < case.other), key=lambda case: case.first - case.other)
    return _moves(experiment, other, cases), wins[:SHOWN], losses[:SHOWN]


def _cases(experiment: Experiment, other: str, measure: str) -> list[Case]:
    first = next(iter(experiment.outcomes.values()))
    second = experiment.outcomes[other]
    cases = []
    for query, text in experiment.benchmark.queries.items():
        ours, theirs = first.run.answers[query], second.run.answers[query]
        ranks = [{document: rank for rank, document in enumerate(answer.ranking, 1)} for answer in (ours, theirs)]
        relevant = [document for document, gain in experiment.benchmark.relevant[query].items() if gain > 0]
        gold = [(document, ranks[0].get(document), ranks[1].get(document)) for document in relevant]
        scores = first.scores[measure][query], second.scores[measure][query]
        cases.append(Case(text, *scores, ours.thoughts, theirs.thoughts, gold))
    return cases


def _frontier(rows: Sequence[Mapping[str, Any]], measure: str) -> str:
    """Quality against cost, as an SVG."""
    figure, axes = _plot()
    for row in rows:
        value, seconds = row[measure], max(row["seconds"], 1e-6)
        low, high = row["intervals"].get(measure, (value, value))
        axes.errorbar(seconds, value, yerr=[[value - low], [high - value]], fmt="o", capsize=3, markersize=7)
        axes.annotate(row["system"], (seconds, value), xytext=(8, 6), textcoords="offset points")
    axes.set_xscale("log")
    axes.set_xlabel("seconds per query")
    axes.set_ylabel(measure)
    axes.set_ylim(0, 1.1)
    axes.margins(x=0.25)
    return _svg(figure)


def _moves(experiment: Experiment, other: str, cases: Sequence[Case]) -> str:
    """The rank of every relevant document under both systems, as an SVG; below the diagonal the first one is better."""
    figure, axes = _plot()
    deepest = max((len(a.ranking) for o in experiment.outcomes.values() for a in o.run.answers.values()), default=1) + 1
    ours = [rank or deepest for case in cases for _, rank, _ in case.gold]
    theirs = [rank or deepest for case in cases for _, _, rank in case.gold]
    axes.plot([1, deepest], [1, deepest], color="#999999", linewidth=1)
    axes.scatter(theirs, ours, s=18, alpha=0.5)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(f"rank under {other}")
    axes.set_ylabel(f"rank under {next(iter(experiment.outcomes))}")
    top = 10 ** math.ceil(math.log10(max(deepest, 10)))
    axes.set_xlim(0.8, top)
    axes.set_ylim(0.8, top)
    return _svg(figure)


def _plot() -> tuple[Any, Any]:
    try:
        from matplotlib.figure import Figure  # not pyplot: it opens windows and keeps state
    except ModuleNotFoundError as error:
        raise MissingExtraError("eval", "the report") from error
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(visible=True, alpha=0.25)
    return figure, axes


def _svg(figure: Any) -> str:  # noqa: ANN401 - matplotlib's figure
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]
