"""Several systems on one benchmark: their answers, their figures, and how sure the differences are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from t1_vectorstore.evaluation.benchmark import Benchmark
from t1_vectorstore.evaluation.runs import Answer, Run, cut
from t1_vectorstore.evaluation.scoring import MEASURES, Difference, Scores, compare, interval, mean, score
from t1_vectorstore.evaluation.systems import System

DEPTH = 1000
"""Documents of a ranking, as in BEIR and BRIGHT."""


@dataclass(frozen=True)
class Outcome:
    """One system on a benchmark.

    Attributes:
        run: its answers.
        scores: by measure and query.
    """

    run: Run
    scores: Scores

    @property
    def seconds(self) -> float:
        """Mean wall time of a query."""
        return mean({query: answer.seconds for query, answer in self.run.answers.items()})

    @property
    def thought_tokens(self) -> float:
        """Mean length of what was generated for a query."""
        return mean({query: float(answer.thought_tokens) for query, answer in self.run.answers.items()})


@dataclass(frozen=True)
class Experiment:
    """What was measured.

    Attributes:
        benchmark: on what.
        outcomes: by system, in the order they were asked for; the first is the one that others are compared with.
    """

    benchmark: Benchmark
    outcomes: Mapping[str, Outcome]

    def difference(self, system: str, measure: str) -> Difference:
        """How much better the first system is than another."""
        first = next(iter(self.outcomes.values()))
        return compare(first.scores[measure], self.outcomes[system].scores[measure])

    def rows(self) -> list[dict[str, Any]]:
        """A table for machines: one row for each system."""
        main = next(iter(MEASURES))
        rows = []
        for place, (name, outcome) in enumerate(self.outcomes.items()):
            low, high = interval(list(outcome.scores[main].values()))
            rows.append(
                {
                    "system": name,
                    "queries": len(outcome.run.answers),
                    **{measure: mean(values) for measure, values in outcome.scores.items()},
                    "interval": [low, high],
                    "first_minus_this": asdict(self.difference(name, main)) if place else None,
                    "thought_tokens": outcome.thought_tokens,
                    "seconds": outcome.seconds,
                }
            )
        return rows


def run(
    benchmark: Benchmark,
    systems: Sequence[System],
    *,
    depth: int = DEPTH,
    measures: Mapping[str, str] = MEASURES,
    on_progress: Callable[[str, int], None] | None = None,
) -> Experiment:
    """Ask every system every query, and score what it answers.

    Args:
        benchmark: what to measure on.
        systems: what to measure, each with another name.
        depth: documents of a ranking, after the excluded ones are taken out.
        measures: our names of trec_eval's measures.
        on_progress: told a system's name and how many queries it has answered since the last time.

    Raises:
        ValueError: no systems, or two of one name.
    """
    names = [system.name for system in systems]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"an experiment needs systems of different names, got {names}")
    wanted = depth + max((len(ids) for ids in benchmark.excluded.values()), default=0)
    outcomes = {}
    for system in systems:

        def on_done(more: int, name: str = system.name) -> None:
            if on_progress:
                on_progress(name, more)

        found = system.answer(benchmark.queries, wanted, on_done)
        answers = {
            query: _kept(answer, benchmark.excluded.get(query, frozenset()), depth) for query, answer in found.items()
        }
        answered = Run(system.name, answers)
        outcomes[system.name] = Outcome(answered, score(answered, benchmark, measures))
    return Experiment(benchmark, outcomes)


def table(experiment: Experiment) -> str:
    """The figures as Markdown; intervals are 95%, by the paired bootstrap over queries."""
    rows = experiment.rows()
    measures = list(next(iter(experiment.outcomes.values())).scores)
    head = ["system", *measures, "95% interval", "first minus this", "thought tokens", "s / query"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for row in rows:
        delta = row["first_minus_this"]
        gained = f"{delta['mean']:+.3f} [{delta['low']:+.3f}, {delta['high']:+.3f}]" if delta else ""
        low, high = row["interval"]
        cells = [row["system"], *(f"{row[measure]:.3f}" for measure in measures), f"{low:.3f} – {high:.3f}", gained]
        cells += [f"{row['thought_tokens']:.1f}", f"{row['seconds']:.4f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _kept(answer: Answer, excluded: frozenset[str], depth: int) -> Answer:
    return Answer(cut(answer.ranking, excluded, depth), answer.seconds, answer.thoughts, answer.thought_tokens)
