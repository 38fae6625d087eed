"""Several systems on one benchmark: their answers, their scores, and the uncertainty of the differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from t1_vectorstore.evaluation.benchmark import Benchmark
from t1_vectorstore.evaluation.runs import Answer, Run, top_documents
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
"""Number of documents in a ranking, as in BEIR and BRIGHT."""


@dataclass(frozen=True)
class Outcome:
    """The answers of one system, and their scores."""

    run: Run
    scores: Scores

    @property
    def seconds(self) -> float:
        """Mean wall time of a query."""
        return mean({query: answer.seconds for query, answer in self.run.answers.items()})

    @property
    def thought_tokens(self) -> float:
        """Mean number of tokens generated for a query."""
        return mean({query: float(answer.thought_tokens) for query, answer in self.run.answers.items()})

    @property
    def exact_thoughts(self) -> float | None:
        """Share of queries with a thought that equals a right one, among those with a known right thought."""
        known = {query: float(a.exact) for query, a in self.run.answers.items() if a.exact is not None}
        return mean(known) if known else None


@dataclass(frozen=True)
class Experiment:
    """The outcomes of systems on a benchmark.

    Attributes:
        benchmark: The benchmark.
        outcomes: Outcomes by system name, in the requested order. The first system is compared with each other one.
    """

    benchmark: Benchmark
    outcomes: Mapping[str, Outcome]

    @property
    def first(self) -> Outcome:
        """The outcome of the first system."""
        return next(iter(self.outcomes.values()))

    @property
    def measures(self) -> list[str]:
        """Names of the measures, in order."""
        return list(self.first.scores)

    def difference(self, system: str, measure: str) -> Difference:
        """Return how much better the first system is than another."""
        return compare(self.first.scores[measure], self.outcomes[system].scores[measure])

    def ratio(self, system: str, measure: str) -> Ratio | None:
        """Return how many times as good the first system is as another; ``None`` if that one scores 0."""
        return compare_ratio(self.first.scores[measure], self.outcomes[system].scores[measure])

    def cosine(self, system: str) -> float | None:
        """Return the mean cosine of a system's query vectors with the first one's; ``None`` for different models."""
        first, other = self.first.run, self.outcomes[system].run
        if first.model is None or first.model != other.model:
            return None
        return mean({query: _cosine(answer, other.answers[query]) for query, answer in first.answers.items()})

    def rows(self) -> list[dict[str, Any]]:
        """Return all figures, with one row for each system."""
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
    """Run every query through every system, and score the answers.

    Args:
        benchmark: The benchmark.
        systems: The systems, with different names.
        depth: Number of documents in a ranking, after the excluded ones are removed.
        measures: trec_eval's name of each measure, by its displayed name.
        on_progress: Function that is called with a system's name and the number of queries that it has answered since
            the last call.

    Raises:
        ValueError: No systems, or two systems with the same name.
    """
    names = [system.name for system in systems]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"an experiment needs systems of different names, got {names}")
    searched = depth + max((len(ids) for ids in benchmark.excluded.values()), default=0)
    outcomes = {}
    for system in systems:

        def report(count: int, name: str = system.name) -> None:
            if on_progress:
                on_progress(name, count)

        answers = {}
        for query, answer in system.answer(benchmark, searched, report).items():
            excluded = benchmark.excluded.get(query, frozenset())
            answers[query] = replace(answer, ranking=top_documents(answer.ranking, excluded, depth))
        answered = Run(system.name, answers, system.model)
        outcomes[system.name] = Outcome(answered, score(answered, benchmark, measures))
    return Experiment(benchmark, outcomes)


def _cosine(one: Answer, other: Answer) -> float:
    import numpy as np

    assert one.vector is not None
    assert other.vector is not None
    return float(one.vector @ other.vector / (np.linalg.norm(one.vector) * np.linalg.norm(other.vector)))
