"""Queries embedded with given thoughts instead of generated ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from t1_vectorstore import T1Embedder
from t1_vectorstore.errors import InvalidText, TextTooLong

QUERIES = ["what do the growers of the state ruled from Oslo raise", "climate of the neighbour of Peru"]


@pytest.fixture(scope="module")
def mini() -> T1Embedder:
    return T1Embedder.load("t1-mini", dtype="float32")


def test_a_generated_thought_that_is_given_back_gives_the_same_vector(mini: T1Embedder) -> None:
    own = mini.embed_queries(QUERIES)
    given = mini.embed_queries(QUERIES, thoughts=[embedding.thoughts[0].text for embedding in own])
    for thought, again in zip(own, given, strict=True):
        assert again.vector == pytest.approx(thought.vector, abs=1e-4)
        assert again.thoughts[0].text == thought.thoughts[0].text
        assert (again.thoughts[0].tokens, again.thoughts[0].stop) == (thought.thoughts[0].tokens, "given")


def test_the_vector_depends_on_the_given_thought(mini: T1Embedder) -> None:
    own = mini.embed_queries(QUERIES)
    swapped = mini.embed_queries(QUERIES, thoughts=[embedding.thoughts[0].text for embedding in reversed(own)])
    closeness = np.stack([e.vector for e in swapped]) @ np.stack([e.vector for e in own]).T
    assert closeness[0, 1] > closeness[0, 0]
    assert closeness[1, 0] > closeness[1, 1]


def test_given_and_generated_thoughts_are_refined_alike(mini: T1Embedder) -> None:
    [own] = mini.embed_queries(QUERIES[:1], refine_steps=2)
    [given] = mini.embed_queries(QUERIES[:1], refine_steps=2, thoughts=[own.thoughts[0].text])
    assert given.vector == pytest.approx(own.vector, abs=1e-4)


def test_a_text_as_the_model_would_write_it(mini: T1Embedder) -> None:
    assert mini.as_thought("Côte d'Ivoire: Exports.") == "cote d ' ivoire: exports."


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"thoughts": ["one"]}, ValueError, "2 queries need a thought each, got 1"),
        ({"thoughts": "ab"}, TypeError, "expected several thought texts, got one str"),
        ({"thoughts": ["one", " "]}, InvalidText, "thought text 1 is only white space"),
        ({"thoughts": ["a", "b"], "think": False}, ValueError, "thinking is off; leave one of the two out"),
        ({"thoughts": ["a", "b"], "budget": 3}, ValueError, "budget=3 and deadline=None limit generated thoughts"),
        ({"thoughts": ["a", "b"], "deadline": 3.0}, ValueError, "deadline=3.0 limit generated thoughts"),
        ({"thoughts": ["a", "of oslo " * 2000]}, TextTooLong, "query 1 and its given thought are .* shorten"),
    ],
)
def test_unusable_thoughts_are_refused(
    mini: T1Embedder, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        mini.embed_queries(QUERIES, **options)


def test_no_queries_and_no_thoughts(mini: T1Embedder) -> None:
    assert mini.embed_queries([], thoughts=[]) == []
