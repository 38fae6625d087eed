"""The report of an evaluation: one self-contained HTML file, with plots and single queries."""

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
"""Maximum number of queries that are shown as wins, and as losses."""


@dataclass(frozen=True)
class QueryComparison:
    """The answers of two systems to one query.

    Attributes:
        query: Text of the query.
        first: Score of the first system.
        other: Score of the other system.
        thoughts: Thoughts of the first system.
        other_thoughts: Thoughts of the other system.
        relevant: Ids of the relevant documents, with their ranks in both systems; ``None`` if not found.
    """

    query: str
    first: float
    other: float
    thoughts: Sequence[str]
    other_thoughts: Sequence[str]
    relevant: Sequence[tuple[str, int | None, int | None]]


def write_report(experiments: Sequence[Experiment], path: Path, *, facts: Mapping[str, Any] | None = None) -> None:
    """Write the report.

    Args:
        experiments: The experiments, such as one for each split of a benchmark.
        path: The HTML file.
        facts: Further facts to print, such as the model and the command.

    Raises:
        MissingExtraError: The ``eval`` extra is not installed.
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
    """Return the template's variables for one experiment."""
    names, rows, measures = list(experiment.outcomes), experiment.rows(), experiment.measures
    cells = columns(rows, measures)
    return {
        "benchmark": experiment.benchmark,
        "titles": list(cells),
        "rows": list(zip(*cells.values(), strict=True)),
        "frontier": _frontier_plot(rows, measures[0]),
        "comparisons": [(name, *_compare(experiment, name, measures[0])) for name in names[1:]],
        "first": names[0],
    }


def _compare(
    experiment: Experiment, other: str, measure: str
) -> tuple[str, list[QueryComparison], list[QueryComparison]]:
    """Return a plot of the ranks in the first system and another, and the queries with the largest wins and losses."""
    queries = _query_comparisons(experiment, other, measure)
    wins = sorted(
        (query for query in queries if query.first > query.other), key=lambda query: query.other - query.first
    )
    losses = sorted(
        (query for query in queries if query.first < query.other), key=lambda query: query.first - query.other
    )
    return _rank_plot(experiment, other, queries), wins[:SHOWN], losses[:SHOWN]


def _query_comparisons(experiment: Experiment, other: str, measure: str) -> list[QueryComparison]:
    first, second = experiment.first, experiment.outcomes[other]
    comparisons = []
    for query, text in experiment.benchmark.queries.items():
        ours, theirs = first.run.answers[query], second.run.answers[query]
        ranks = [{document: rank for rank, document in enumerate(answer.ranking, 1)} for answer in (ours, theirs)]
        gold = [document for document, gain in experiment.benchmark.relevant[query].items() if gain > 0]
        relevant = [(document, ranks[0].get(document), ranks[1].get(document)) for document in gold]
        scores = first.scores[measure][query], second.scores[measure][query]
        comparisons.append(QueryComparison(text, *scores, ours.thoughts, theirs.thoughts, relevant))
    return comparisons


def _frontier_plot(rows: Sequence[Mapping[str, Any]], measure: str) -> str:
    """Plot quality against cost, as an SVG."""
    figure, axes = _figure()
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


def _rank_plot(experiment: Experiment, other: str, queries: Sequence[QueryComparison]) -> str:
    """Plot the rank of every relevant document in both systems, as an SVG. Below the diagonal the first is better."""
    figure, axes = _figure()
    # Documents that a system did not find are drawn one rank behind the longest ranking.
    last = max((len(a.ranking) for o in experiment.outcomes.values() for a in o.run.answers.values()), default=1) + 1
    ours = [rank or last for query in queries for _, rank, _ in query.relevant]
    theirs = [rank or last for query in queries for _, _, rank in query.relevant]
    axes.plot([1, last], [1, last], color="#999999", linewidth=1)
    axes.scatter(theirs, ours, s=18, alpha=0.5)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(f"rank in {other}")
    axes.set_ylabel(f"rank in {next(iter(experiment.outcomes))}")
    top = 10 ** math.ceil(math.log10(max(last, 10)))
    axes.set_xlim(0.8, top)
    axes.set_ylim(0.8, top)
    return _svg(figure)


def _figure() -> tuple[Any, Any]:
    try:
        from matplotlib.figure import Figure  # not pyplot, which opens windows and keeps state
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
