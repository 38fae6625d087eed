"""The best search options for an index: chosen on one half of the judged queries, reported on the other."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from t1_vectorstore.evaluation import experiment
from t1_vectorstore.evaluation.benchmark import Benchmark
from t1_vectorstore.evaluation.experiment import Experiment
from t1_vectorstore.evaluation.scoring import MAIN, compare, mean
from t1_vectorstore.evaluation.systems import EmbeddingCache, T1System

if TYPE_CHECKING:
    from t1_vectorstore.vectorstore import T1VectorStore

MIN_QUERIES = 20
_SAMPLED_QUERIES = 10
_BUDGET_SHARES = (0.5, 1.0)
_REFINE_STEPS = (1, 2, 4)
_VECTOR_WEIGHTS = (0.3, 0.7, 0.9)


@dataclass(frozen=True)
class TuningResult:
    """The chosen options, and the measurements behind the choice.

    Attributes:
        options: Options of ``T1VectorStore.search``.
        chosen_on: All candidates, on the half of the queries that the choice was made on.
        reported_on: The chosen options and the defaults, on the other half: the figures to expect.
    """

    options: Mapping[str, Any]
    chosen_on: Experiment
    reported_on: Experiment

    @property
    def worse_than_defaults(self) -> bool:
        """Whether the chosen options are significantly worse than the defaults on the half they were not chosen on."""
        if not self.options:
            return False
        return self.reported_on.difference(describe({}), MAIN).high < 0


def tune(
    store: T1VectorStore,
    benchmark: Benchmark,
    *,
    seed: int = 0,
    on_progress: Callable[[str, int], None] | None = None,
) -> TuningResult:
    """Choose whether to think, for how long, whether to refine, and how much the words count.

    The fastest candidate is chosen among those that are not significantly worse than the best one (the 95% interval of
    the difference contains 0).

    Args:
        store: The index.
        benchmark: At least 20 judged queries on it.
        seed: Random seed of the split into halves.
        on_progress: Function that is called with a candidate's name and the number of queries that it has answered
            since the last call.

    Raises:
        ValueError: Fewer than 20 queries.
    """
    if len(benchmark.queries) < MIN_QUERIES:
        raise ValueError(f"tuning needs at least {MIN_QUERIES} judged queries, got {len(benchmark.queries)}")
    # 1. Two halves: a choice is never reported on the queries that it was made on.
    names = list(benchmark.queries)
    random.Random(seed).shuffle(names)
    middle = len(names) // 2
    halves = benchmark.subset(set(names[:middle])), benchmark.subset(set(names[middle:]))
    # 2. Try every candidate on the first half. Candidates that embed alike share the vectors.
    options = candidates(store, halves[0])
    cache: EmbeddingCache = {}
    tried = experiment.run(halves[0], [_system(store, each, cache) for each in options], on_progress=on_progress)
    # 3. Choose, and measure the choice beside the defaults on the second half.
    chosen = options[_choose(tried)]
    systems = [_system(store, each, cache) for each in ([chosen, {}] if chosen else [{}])]
    return TuningResult(chosen, tried, experiment.run(halves[1], systems, on_progress=on_progress))


def candidates(store: T1VectorStore, benchmark: Benchmark) -> list[dict[str, Any]]:
    """Return the options to try, the defaults first. Budgets are shares of the median thought length of a sample."""
    found: list[dict[str, Any]] = [{}]
    if store.embedder.spec.thinks:
        by_default = store.embedder.spec.think_by_default
        found.append({"think": not by_default})
        sample = list(benchmark.queries.values())[:_SAMPLED_QUERIES]
        lengths = sorted(sum(t.tokens for t in e.thoughts) for e in store.embedder.embed_queries(sample, think=True))
        median = lengths[len(lengths) // 2]
        budgets = dict.fromkeys(max(1, round(median * share)) for share in _BUDGET_SHARES if median)
        found += [{"budget": budget} if by_default else {"think": True, "budget": budget} for budget in budgets]
    if store.embedder.refines:
        found += [{"refine_steps": steps} for steps in _REFINE_STEPS]
    if store.collection.hybrid:
        found += [{"hybrid": False}, {"fusion": "dbsf"}]
        found += [{"vector_weight": weight} for weight in _VECTOR_WEIGHTS]
    return found


def describe(options: Mapping[str, Any]) -> str:
    """Return the name of a candidate."""
    return ", ".join(f"{name}={value}" for name, value in options.items()) or "defaults"


def _choose(tried: Experiment) -> int:
    """Return the position of the fastest candidate among those that are not significantly worse than the best one."""
    outcomes = list(tried.outcomes.values())
    best = max(outcomes, key=lambda outcome: mean(outcome.scores[MAIN]))
    close = [
        place
        for place, outcome in enumerate(outcomes)
        if outcome is best or compare(best.scores[MAIN], outcome.scores[MAIN]).low <= 0
    ]
    return min(close, key=lambda place: outcomes[place].seconds)


def _system(store: T1VectorStore, options: Mapping[str, Any], cache: EmbeddingCache) -> T1System:
    """Return a system that searches with these options, by default also by words if the index stores them."""
    ranking = {name: options[name] for name in ("hybrid", "fusion", "vector_weight") if name in options}
    embedding = {name: value for name, value in options.items() if name not in ranking}
    ranking = {"hybrid": store.collection.hybrid, **ranking}
    return T1System(describe(options), store, embedding, **ranking, cache=cache)
