"""Figures of a run, by trec_eval itself (through pytrec_eval), as BEIR, MTEB and BRIGHT compute theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from t1_vectorstore.errors import MissingExtraError
from t1_vectorstore.evaluation.benchmark import Benchmark
from t1_vectorstore.evaluation.runs import Run

MEASURES = {"nDCG@10": "ndcg_cut_10", "hit@1": "success_1", "recall@100": "recall_100", "MRR": "recip_rank"}
"""Our name of a measure, and trec_eval's. BRIGHT's long track is ``recall@1``, which it has as ``recall_1``."""

MAIN, HIT = "nDCG@10", "hit@1"
"""What systems are compared by: the differences of the first, the ratios of the second."""

LONG_TRACK = {"recall@1": "recall_1"}

Scores = Mapping[str, Mapping[str, float]]
"""By measure, then by query id."""


@dataclass(frozen=True)
class Difference:
    """How much better one system is than another on the same queries.

    Attributes:
        mean: mean of the differences query by query.
        low: lower end of its 95% confidence interval, by the paired bootstrap over queries.
        high: the upper end.
        wins: queries on which it is better.
        losses: queries on which it is worse.
    """

    mean: float
    low: float
    high: float
    wins: int
    losses: int


@dataclass(frozen=True)
class Ratio:
    """How many times as good one system is as another on the same queries.

    Attributes:
        ratio: of the means.
        low: lower end of its 95% confidence interval, by the paired bootstrap over queries.
        high: the upper end; None where there is none, as queries may be drawn of which the other answers none.
    """

    ratio: float
    low: float
    high: float | None


def score(run: Run, benchmark: Benchmark, measures: Mapping[str, str] = MEASURES) -> Scores:
    """Score every query; one that found nothing counts as 0 everywhere, as in trec_eval's ``-c``.

    Raises:
        MissingExtraError: the ``eval`` extra is not installed.
        ValueError: the run lacks queries of the benchmark.
    """
    try:
        import pytrec_eval
    except ModuleNotFoundError as error:
        raise MissingExtraError("eval", "scoring") from error
    if lost := [query for query in benchmark.queries if query not in run.answers]:
        raise ValueError(f"the run {run.system!r} does not answer {len(lost)} queries, such as {lost[0]!r}")
    judge: Any = pytrec_eval.RelevanceEvaluator(
        {query: dict(gains) for query, gains in benchmark.relevant.items()}, set(measures.values())
    )
    results = judge.evaluate({query: dict(ranking) for query, ranking in run.rankings.items() if ranking})
    return {
        name: {query: float(results.get(query, {}).get(measure, 0.0)) for query in benchmark.queries}
        for name, measure in measures.items()
    }


def mean(scores: Mapping[str, float]) -> float:
    """Mean over the queries."""
    return sum(scores.values()) / len(scores)


def compare(ours: Mapping[str, float], theirs: Mapping[str, float], *, resamples: int = 10_000) -> Difference:
    """Compare two systems on the same queries.

    Args:
        ours: one measure by query id.
        theirs: likewise.
        resamples: of the bootstrap, which is seeded: the same figures give the same interval.

    Raises:
        ValueError: they were not asked the same queries.
    """
    _demand_same(ours, theirs)
    gained = [ours[query] - theirs[query] for query in ours]
    low, high = interval(gained, resamples=resamples)
    wins, losses = sum(gain > 0 for gain in gained), sum(gain < 0 for gain in gained)
    return Difference(sum(gained) / len(gained), low, high, wins, losses)


def compare_ratio(ours: Mapping[str, float], theirs: Mapping[str, float], *, resamples: int = 10_000) -> Ratio | None:
    """Divide two systems' means; arguments and errors are those of ``compare``.

    Returns:
        None if theirs is 0.
    """
    import numpy as np
    from scipy.stats import bootstrap

    _demand_same(ours, theirs)
    if not any(theirs.values()):
        return None
    ratio = mean(ours) / mean(theirs)
    pair = np.asarray(list(ours.values())), np.asarray([theirs[query] for query in ours])
    if all(len(set(values.tolist())) == 1 for values in pair):
        return Ratio(ratio, ratio, ratio)

    def angle(ours: Any, theirs: Any, axis: int = -1) -> Any:  # noqa: ANN401 - numpy's arrays
        return np.arctan2(ours.mean(axis=axis), theirs.mean(axis=axis))

    # The angle grows with the ratio, and is finite where no query drawn has an answer of theirs.
    found = bootstrap(
        pair, angle, paired=True, n_resamples=resamples, method="percentile", batch=1000, rng=0
    ).confidence_interval
    unbounded = found.high > np.arctan2(1, 1e-9)
    return Ratio(ratio, float(np.tan(found.low)), None if unbounded else float(np.tan(found.high)))


def _demand_same(ours: Mapping[str, float], theirs: Mapping[str, float]) -> None:
    if set(ours) != set(theirs):
        raise ValueError("only runs over the same queries can be compared")


def interval(values: Sequence[float], *, resamples: int = 10_000) -> tuple[float, float]:
    """The 95% confidence interval of a mean, by the percentile bootstrap.

    Args:
        values: one for each query.
        resamples: how often the queries are drawn anew.
    """
    import numpy as np
    from scipy.stats import bootstrap

    if len(values) < 2 or len(set(values)) == 1:
        return values[0], values[0]
    found = bootstrap(
        (np.asarray(values),), np.mean, n_resamples=resamples, method="percentile", batch=1000, rng=0
    ).confidence_interval
    return float(found.low), float(found.high)
