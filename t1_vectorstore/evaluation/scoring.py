"""Scores of a run, by trec_eval itself (through pytrec_eval), as BEIR, MTEB and BRIGHT compute theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from t1_vectorstore.errors import MissingExtraError
from t1_vectorstore.evaluation.benchmark import Benchmark
from t1_vectorstore.evaluation.runs import Run

MEASURES = {"nDCG@10": "ndcg_cut_10", "hit@1": "success_1", "recall@100": "recall_100", "MRR": "recip_rank"}
"""trec_eval's name of each measure, by the name used here."""

LONG_TRACK = {"recall@1": "recall_1"}
"""The measure of BRIGHT's long track."""

MAIN, HIT = "nDCG@10", "hit@1"
"""The measures by which systems are compared: differences of the first, ratios of the second."""

Scores = Mapping[str, Mapping[str, float]]
"""Scores by measure and query id."""


@dataclass(frozen=True)
class Difference:
    """How much better one system is than another on the same queries.

    Attributes:
        mean: Mean of the differences query by query.
        low: Lower end of its 95% confidence interval, by the paired bootstrap over queries.
        high: Upper end of the interval.
        wins: Number of queries on which the system is better.
        losses: Number of queries on which it is worse.
    """

    mean: float
    low: float
    high: float
    wins: int
    losses: int


@dataclass(frozen=True)
class Ratio:
    """The ratio of two systems' mean scores on the same queries.

    Attributes:
        ratio: Ratio of the means.
        low: Lower end of its 95% confidence interval, by the paired bootstrap over queries.
        high: Upper end of the interval; ``None`` if it is unbounded, since some resamples hold only queries on which
            the other system scores 0.
    """

    ratio: float
    low: float
    high: float | None


def score(run: Run, benchmark: Benchmark, measures: Mapping[str, str] = MEASURES) -> Scores:
    """Score every query. A query with an empty ranking scores 0 in every measure, as in trec_eval's ``-c``.

    Raises:
        MissingExtraError: The ``eval`` extra is not installed.
        ValueError: The run lacks queries of the benchmark.
    """
    try:
        import pytrec_eval
    except ModuleNotFoundError as error:
        raise MissingExtraError("eval", "scoring") from error
    if lost := [query for query in benchmark.queries if query not in run.answers]:
        raise ValueError(f"the run {run.system!r} does not answer {len(lost)} queries, such as {lost[0]!r}")
    evaluator: Any = pytrec_eval.RelevanceEvaluator(
        {query: dict(gains) for query, gains in benchmark.relevant.items()}, set(measures.values())
    )
    results = evaluator.evaluate({query: dict(ranking) for query, ranking in run.rankings.items() if ranking})
    return {
        name: {query: float(results.get(query, {}).get(measure, 0.0)) for query in benchmark.queries}
        for name, measure in measures.items()
    }


def mean(scores: Mapping[str, float]) -> float:
    """Return the mean over the queries."""
    return sum(scores.values()) / len(scores)


def compare(ours: Mapping[str, float], theirs: Mapping[str, float], *, resamples: int = 10_000) -> Difference:
    """Compare two systems on the same queries.

    Args:
        ours: Scores by query id in one measure.
        theirs: Scores of the other system in the same measure.
        resamples: Number of bootstrap resamples. The bootstrap is seeded: equal scores give equal intervals.

    Raises:
        ValueError: The queries differ.
    """
    _refuse_other_queries(ours, theirs)
    gains = [ours[query] - theirs[query] for query in ours]
    low, high = interval(gains, resamples=resamples)
    return Difference(
        sum(gains) / len(gains), low, high, sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)
    )


def compare_ratio(ours: Mapping[str, float], theirs: Mapping[str, float], *, resamples: int = 10_000) -> Ratio | None:
    """Divide the means of two systems; ``None`` if the second one is 0. Arguments and errors as in ``compare``."""
    import numpy as np

    _refuse_other_queries(ours, theirs)
    if not any(theirs.values()):
        return None
    ratio = mean(ours) / mean(theirs)
    pair = np.asarray(list(ours.values())), np.asarray([theirs[query] for query in ours])
    if all(len(set(values.tolist())) == 1 for values in pair):  # constant scores: every resample has the same ratio
        return Ratio(ratio, ratio, ratio)

    def angle(first: Any, second: Any, axis: int = -1) -> Any:  # noqa: ANN401 - numpy's arrays
        return np.arctan2(first.mean(axis=axis), second.mean(axis=axis))

    # The angle grows with the ratio, and stays finite when the mean of theirs is 0 in a resample.
    low, high = _bootstrap(pair, angle, resamples, paired=True)
    unbounded = high > np.arctan2(1, 1e-9)  # an angle this close to 90 degrees is an infinite ratio
    return Ratio(ratio, float(np.tan(low)), None if unbounded else float(np.tan(high)))


def interval(values: Sequence[float], *, resamples: int = 10_000) -> tuple[float, float]:
    """Return the 95% confidence interval of a mean over queries, by the percentile bootstrap.

    Args:
        values: One value for each query.
        resamples: Number of bootstrap resamples.
    """
    import numpy as np

    if len(values) < 2 or len(set(values)) == 1:
        return values[0], values[0]
    return _bootstrap((np.asarray(values),), np.mean, resamples)


def _bootstrap(data: tuple[Any, ...], statistic: Any, resamples: int, *, paired: bool = False) -> tuple[float, float]:  # noqa: ANN401
    from scipy.stats import bootstrap

    found = bootstrap(data, statistic, paired=paired, n_resamples=resamples, method="percentile", batch=1000, rng=0)
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def _refuse_other_queries(ours: Mapping[str, float], theirs: Mapping[str, float]) -> None:
    if set(ours) != set(theirs):
        raise ValueError("only runs over the same queries can be compared")
