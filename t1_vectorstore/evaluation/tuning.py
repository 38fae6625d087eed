"""Which way of asking is best for an index: chosen on one half of the judged queries, reported on the other."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from t1_vectorstore.evaluation import experiment
from t1_vectorstore.evaluation.benchmark import Benchmark
from t1_vectorstore.evaluation.experiment import Experiment
from t1_vectorstore.evaluation.scoring import compare, mean
from t1_vectorstore.evaluation.systems import Kept, T1System

if TYPE_CHECKING:
    from t1_vectorstore.vectorstore import T1VectorStore

MEASURE = "nDCG@10"
_LEAST = 10
_SHARES = (0.5, 1.0)
_REFINE_STEPS = (1, 2, 4)
_VECTOR_WEIGHTS = (0.3, 0.7, 0.9)


@dataclass(frozen=True)
class Tuned:
    """What was chosen.

    Attributes:
        options: of ``T1VectorStore.search``.
        chosen_on: all candidates on the half that the choice was made on.
        reported_on: the chosen one and the default, on the other half: what to expect.
    """

    options: Mapping[str, Any]
    chosen_on: Experiment
    reported_on: Experiment


def tune(
    store: T1VectorStore,
    benchmark: Benchmark,
    *,
    seed: int = 0,
    on_progress: Callable[[str, int], None] | None = None,
) -> Tuned:
    """Choose whether and how long to think, whether to refine, and how much the words count, if at all.

    Of all candidates that are not worse than the best one for sure (the 95% interval of the difference holds 0), the
    fastest is taken: what cannot be told apart is not worth waiting for.

    Args:
        store: the index.
        benchmark: judged queries on it, 20 at least.
        seed: of the two halves.
        on_progress: told a candidate's name and how many queries it has answered since the last time.

    Raises:
        ValueError: too few queries to choose and to report on.
    """
    if len(benchmark.queries) < 2 * _LEAST:
        raise ValueError(f"tuning needs {2 * _LEAST} judged queries at least, got {len(benchmark.queries)}")
    names = list(benchmark.queries)
    random.Random(seed).shuffle(names)
    middle = len(names) // 2
    halves = benchmark.only(set(names[:middle])), benchmark.only(set(names[middle:]))
    found = candidates(store, halves[0])
    kept: Kept = {}
    tried = [_system(store, options, kept) for options in found]
    measured = experiment.run(halves[0], tried, on_progress=on_progress)
    chosen = found[_choose(measured)]
    systems = [_system(store, options, kept) for options in ([chosen, {}] if chosen else [{}])]
    return Tuned(chosen, measured, experiment.run(halves[1], systems, on_progress=on_progress))


def candidates(store: T1VectorStore, benchmark: Benchmark) -> list[dict[str, Any]]:
    """What is tried, the defaults first; budgets are shares of the thoughts' usual length on these queries."""
    found: list[dict[str, Any]] = [{}]
    if store.embedder.spec.thinks:
        found.append({"think": False})
        asked = list(benchmark.queries.values())[:_LEAST]
        lengths = sorted(sum(t.tokens for t in e.thoughts) for e in store.embedder.embed_queries(asked))
        usual = lengths[len(lengths) // 2]
        found += [{"budget": max(1, round(usual * share))} for share in _SHARES if usual]
    if store.embedder.refines:
        found += [{"refine_steps": steps} for steps in _REFINE_STEPS]
    if store.collection.hybrid:
        found += [{"hybrid": False}, {"fusion": "dbsf"}]
        found += [{"vector_weight": weight} for weight in _VECTOR_WEIGHTS]
    return found


def describe(options: Mapping[str, Any]) -> str:
    """A candidate's name."""
    return ", ".join(f"{name}={value}" for name, value in options.items()) or "defaults"


def _choose(measured: Experiment) -> int:
    """The place of the fastest candidate among those that the best one is not better than for sure."""
    outcomes = list(measured.outcomes.values())
    best = max(outcomes, key=lambda outcome: mean(outcome.scores[MEASURE]))
    close = [
        place
        for place, outcome in enumerate(outcomes)
        if outcome is best or compare(best.scores[MEASURE], outcome.scores[MEASURE]).low <= 0
    ]
    return min(close, key=lambda place: outcomes[place].seconds)


def _system(store: T1VectorStore, options: Mapping[str, Any], kept: Kept) -> T1System:
    """Asks as a search with these options does: by words as well where there are any, unless it is told not to."""
    ranking = {name: options[name] for name in ("hybrid", "fusion", "vector_weight") if name in options}
    asking = {name: value for name, value in options.items() if name not in ranking}
    return T1System(describe(options), store, asking, **{"hybrid": store.collection.hybrid, **ranking}, kept=kept)
