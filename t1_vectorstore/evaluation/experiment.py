"""Several systems on one benchmark: their answers, their figures, and how sure the differences are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from t1_vectorstore.evaluation.benchmark import Benchmark
from t1_vectorstore.evaluation.runs import Answer, Run, cut
from t1_vectorstore.evaluation.scoring import (
    HIT,
    MAIN,
    MEASURES,
    Difference,
    Ratio,
    Scores,
    compare,
    compare_ratio,
    interval,
    mean,
    score,
)
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

    @property
    def exact_thoughts(self) -> float | None:
        """Share of thoughts that are, word for word, a right one, of those queries for which one is known."""
        known = {query: float(a.exact) for query, a in self.run.answers.items() if a.exact is not None}
        return mean(known) if known else None


@dataclass(frozen=True)
class Experiment:
    """What was measured.

    Attributes:
        benchmark: on what.
        outcomes: by system, in the order they were asked for; the first is the one that others are compared with.
    """

    benchmark: Benchmark
    outcomes: Mapping[str, Outcome]

    @property
    def measures(self) -> list[str]:
        """The names of what was measured, in order."""
        return list(next(iter(self.outcomes.values())).scores)

    def difference(self, system: str, measure: str) -> Difference:
        """How much better the first system is than another."""
        first = next(iter(self.outcomes.values()))
        return compare(first.scores[measure], self.outcomes[system].scores[measure])

    def ratio(self, system: str, measure: str) -> Ratio | None:
        """How many times as good the first system is as another; None if that one has nothing right."""
        first = next(iter(self.outcomes.values()))
        return compare_ratio(first.scores[measure], self.outcomes[system].scores[measure])

    def cosine(self, system: str) -> float | None:
        """Mean cosine of a system's query vectors with the first one's; None if they are not of one model."""
        first, other = next(iter(self.outcomes.values())).run, self.outcomes[system].run
        if first.space is None or first.space != other.space:
            return None
        return mean({query: _cosine(answer, other.answers[query]) for query, answer in first.answers.items()})

    def rows(self) -> list[dict[str, Any]]:
        """A table for machines: one row for each system."""
        rows = []
        for place, (name, outcome) in enumerate(self.outcomes.items()):
            ratio = self.ratio(name, HIT) if place else None
            rows.append(
                {
                    "system": name,
                    "queries": len(outcome.run.answers),
                    **{measure: mean(values) for measure, values in outcome.scores.items()},
                    "intervals": {each: interval(list(outcome.scores[each].values())) for each in (MAIN, HIT)},
                    "first_minus_this": asdict(self.difference(name, MAIN)) if place else None,
                    "first_over_this": asdict(ratio) if ratio else None,
                    "cosine_with_first": self.cosine(name) if place else None,
                    "exact_thoughts": outcome.exact_thoughts,
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

        found = system.answer(benchmark, wanted, on_done)
        answers = {
            query: _kept(answer, benchmark.excluded.get(query, frozenset()), depth) for query, answer in found.items()
        }
        answered = Run(system.name, answers, system.space)
        outcomes[system.name] = Outcome(answered, score(answered, benchmark, measures))
    return Experiment(benchmark, outcomes)


def _cosine(one: Answer, other: Answer) -> float:
    import numpy as np

    if one.vector is None or other.vector is None:
        raise ValueError("an answer of a system with a space has the query's vector")
    return float(one.vector @ other.vector / (np.linalg.norm(one.vector) * np.linalg.norm(other.vector)))


def _kept(answer: Answer, excluded: frozenset[str], depth: int) -> Answer:
    return replace(answer, ranking=cut(answer.ranking, excluded, depth))
