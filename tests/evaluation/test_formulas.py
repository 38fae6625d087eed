"""The formulas that trec_eval's scores are compared with, against values worked out by hand."""

from __future__ import annotations

import math

import pytest

from tests.evaluation import formulas

RANKING = ["d", "a", "x", "b", "y"]
GAINS = {"a": 1.0, "b": 1.0, "c": 1.0}


def test_ndcg() -> None:
    found = 1 / math.log2(3) + 1 / math.log2(5)
    best = 1 + 1 / math.log2(3) + 1 / math.log2(4)
    assert formulas.ndcg(RANKING, GAINS, 10) == pytest.approx(found / best)
    assert formulas.ndcg(RANKING, GAINS, 2) == pytest.approx((1 / math.log2(3)) / (1 + 1 / math.log2(3)))
    graded = (1 + 3 / math.log2(3)) / (3 + 1 / math.log2(3))
    assert formulas.ndcg(["low", "high"], {"low": 1.0, "high": 3.0}, 10) == pytest.approx(graded)


def test_hit_and_recall() -> None:
    assert (formulas.hit(RANKING, GAINS, 1), formulas.hit(RANKING, GAINS, 2)) == (0.0, 1.0)
    assert formulas.recall(RANKING, GAINS, 2) == pytest.approx(1 / 3)
    assert formulas.recall(RANKING, GAINS, 4) == pytest.approx(2 / 3)
