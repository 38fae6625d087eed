"""Metrics against values worked out by hand."""

from __future__ import annotations

import math

import pytest

from t1_vectorstore.evaluation import metrics

RANKING = ["d", "a", "x", "b", "y"]
GAINS = {"a": 1.0, "b": 1.0, "c": 1.0}


def test_ndcg_by_hand() -> None:
    found = 1 / math.log2(3) + 1 / math.log2(5)
    best = 1 + 1 / math.log2(3) + 1 / math.log2(4)
    assert metrics.ndcg(RANKING, GAINS, 10) == pytest.approx(found / best)


def test_ndcg_cuts_ranking_and_ideal_alike() -> None:
    assert metrics.ndcg(RANKING, GAINS, 2) == pytest.approx((1 / math.log2(3)) / (1 + 1 / math.log2(3)))
    assert metrics.ndcg(["b"], GAINS, 1) == 1.0


def test_ndcg_with_graded_gains() -> None:
    assert metrics.ndcg(["low", "high"], {"low": 1.0, "high": 3.0}, 10) == pytest.approx(
        (1 + 3 / math.log2(3)) / (3 + 1 / math.log2(3))
    )


def test_hit_and_recall() -> None:
    assert (metrics.hit(RANKING, GAINS, 1), metrics.hit(RANKING, GAINS, 2)) == (0.0, 1.0)
    assert metrics.recall(RANKING, GAINS, 2) == pytest.approx(1 / 3)
    assert metrics.recall(RANKING, GAINS, 4) == pytest.approx(2 / 3)
    assert metrics.recall([], GAINS, 4) == 0.0


def test_mean_and_standard_error() -> None:
    assert metrics.mean([0.0, 1.0, 1.0, 0.0]) == 0.5
    assert metrics.standard_error([0.0, 1.0, 1.0, 0.0]) == pytest.approx(math.sqrt((1 / 3) / 4))
    assert metrics.standard_error([0.3]) == 0.0


@pytest.mark.parametrize(
    ("ranking", "relevant", "k"),
    [(["a"], {"a": 1.0}, 0), (["a"], {}, 1), (["a"], {"a": 0.0}, 1), (["a", "a"], GAINS, 1)],
)
def test_what_makes_no_sense_is_refused(ranking: list[str], relevant: dict[str, float], k: int) -> None:
    for metric in (metrics.ndcg, metrics.hit, metrics.recall):
        with pytest.raises(ValueError):
            metric(ranking, relevant, k)


def test_no_values_have_no_mean() -> None:
    with pytest.raises(ValueError, match="empty"):
        metrics.mean([])
