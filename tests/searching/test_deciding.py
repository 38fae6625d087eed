"""The decision whether to think, without a model."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from t1_vectorstore.searching.deciding import TEMPERATURE, TOP, decide, document_scores, figures, unsureness
from t1_vectorstore.types import Hit


def hits(scores: list[float], documents: list[str] | None = None) -> list[Hit]:
    names = documents or [str(n) for n in range(len(scores))]
    return [Hit(f"{n}#{at}", score, "", {}, n, 0, 1) for at, (n, score) in enumerate(zip(names, scores, strict=True))]


def test_figures_of_a_ranking() -> None:
    shown = figures([0.9, 0.7, 0.7])
    assert (shown.level, round(shown.margin, 9)) == (0.9, 0.2)
    softmax = np.exp(np.array([0.9, 0.7, 0.7]) / TEMPERATURE)
    softmax /= softmax.sum()
    assert shown.entropy == pytest.approx(-(softmax * np.log(softmax)).sum() / math.log(3))
    assert figures([0.5, 0.5, 0.5]).entropy == pytest.approx(1)
    assert figures([1.0, -1.0]).entropy == pytest.approx(0, abs=1e-6)
    assert figures([0.5] * TOP + [0.1]) == figures([0.5] * TOP)
    assert figures([1.0, *[-1.0] * 99]).entropy >= 0


def test_the_score_falls_with_level_and_margin() -> None:
    close, far, low = ([0.8, 0.79, 0.5], [0.8, 0.6, 0.5], [0.5, 0.49, 0.2])
    scores = [unsureness(figures(each)) for each in (far, close, low)]
    assert scores == sorted(scores)
    assert 0 < scores[0] < scores[2] < 1
    for _ in range(200):
        some = sorted((random.uniform(-1, 1) for _ in range(10)), reverse=True)
        assert 0 <= unsureness(figures(some)) <= 1


def test_the_threshold_decides() -> None:
    found = hits([0.7, 0.69, 0.5])
    score = decide(found, 0.5).score
    assert decide(found, score).thought
    assert not decide(found, score + 0.001).thought
    assert decide(hits([1.0, -1.0]), 0).thought  # 0: always
    assert not decide(hits([-1.0, -1.0]), 1).thought  # 1: never
    told = decide(found, 0.2)
    assert told.reason == (
        "unsure without a thought: the best similarity is 0.70, 0.01 above the next, with entropy 0.67"
    )
    assert (told.threshold, told.score) == (0.2, score)
    assert decide(found, 0.99).reason.startswith("sure without a thought: ")


@pytest.mark.parametrize(
    ("found", "reason"),
    [([], "no document can be found"), (hits([0.1]), "only one document")],
)
def test_a_thought_that_cannot_change_the_ranking_is_saved(found: list[Hit], reason: str) -> None:
    told = decide(found, 0)
    assert not told.thought
    assert reason in told.reason


def test_of_several_chunks_the_best_counts() -> None:
    assert document_scores(hits([0.9, 0.8, 0.7, 0.6], ["a", "a", "b", "a"])) == [0.9, 0.7]
    assert len(document_scores(hits([0.5] * 30))) == TOP


def test_the_chunks_of_a_single_document_are_ranked_by_a_thought_too() -> None:
    """A long document may fill all that is looked at, and others follow."""
    assert decide(hits([0.2, 0.1], ["a", "a"]), 0).thought
    assert decide(hits([0.2, 0.1], ["a", "a"]), 0.3).score == decide(hits([0.2, 0.1], ["a", "b"]), 0.3).score
