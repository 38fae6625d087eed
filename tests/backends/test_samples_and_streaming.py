"""Queries with several thoughts for one vector, and thoughts that are streamed while they are generated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from t1_vectorstore import T1Embedder
from t1_vectorstore.backends.decoder.scheduler import ThoughtBatch
from t1_vectorstore.errors import OutOfMemoryWarning
from t1_vectorstore.types import QueryEmbedding
from tests.backends.contract import QUERIES

SAMPLED = {"decoding": {"temperature": 1.0, "max_tokens": 12}}


@pytest.fixture(scope="module")
def sampling(tiny: Path) -> T1Embedder:
    return T1Embedder.load(tiny, dtype="float32", overrides=SAMPLED)


def test_the_vector_is_the_mean_over_the_thoughts(sampling: T1Embedder) -> None:
    for embedding in sampling.embed_queries(QUERIES[:3], samples=4):
        [prompt] = sampling._prompter.queries([embedding.query], think=True)
        found = sampling._backend.think([prompt.ids], sampling.spec.decoding, samples=4)
        assert [sampling._prompter.thought_text(one.ids) for one in found] == [t.text for t in embedding.thoughts]
        states = np.stack([one.state for one in found])
        units = states / np.linalg.norm(states, axis=1, keepdims=True)
        mean = units.mean(0)
        np.testing.assert_allclose(embedding.vector, mean / np.linalg.norm(mean), atol=1e-5)
        assert embedding.thought_vectors is not None
        np.testing.assert_allclose(embedding.thought_vectors, units, atol=1e-5)


def test_one_thought_is_the_default(sampling: T1Embedder) -> None:
    one, default = sampling.embed_query(QUERIES[0], samples=1), sampling.embed_query(QUERIES[0])
    assert np.array_equal(one.thought_vectors, one.vector[None])
    assert sampling.embed_query(QUERIES[0], think=False).thought_vectors is None
    assert one.thoughts == default.thoughts
    assert len(one.thoughts) == 1
    assert sampling.embed_query(QUERIES[0], samples=2).thoughts[0] == one.thoughts[0]


def test_invalid_samples(tiny: Path, sampling: T1Embedder) -> None:
    greedy = T1Embedder.load(tiny)
    with pytest.raises(ValueError, match=r"samples=3, but decoding is greedy .*overrides=.*temperature"):
        greedy.embed_query("x", samples=3)
    assert len(greedy.embed_query("x", samples=1, budget=2).thoughts) == 1
    for options, message in [
        ({"samples": 0}, "samples must be greater than or equal to 1, got 0"),
        ({"samples": 2, "think": False}, "^samples=2 is for thoughts, and thinking is off"),
    ]:
        with pytest.raises(ValueError, match=message):
            sampling.embed_query("x", **options)  # type: ignore[arg-type]
    for wrong in (1.5, True, "2"):
        with pytest.raises(TypeError, match=r"samples must be a valid (integer|number), got"):
            sampling.embed_query("x", samples=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "options", "error", "message"),
    [
        ("x", {"budget": -1}, ValueError, "budget must be greater than or equal to 0, got -1"),
        (
            "x",
            {"budgt": 3},
            TypeError,
            "unknown option 'budgt'; did you mean 'budget'.* The options are budget, ",
        ),
        ("x", {"samples": "3"}, TypeError, "samples must be a valid integer, got '3'"),
        ("", {}, ValueError, "empty"),
        (["x"], {}, TypeError, "expected one query, got list"),
    ],
)
def test_a_stream_is_checked_before_it_starts(
    sampling: T1Embedder, text: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        sampling.stream_query(text, **options)


def test_a_stream_without_a_thought(sampling: T1Embedder) -> None:
    [embedding] = sampling.stream_query("x", think=False)
    assert isinstance(embedding, QueryEmbedding)
    np.testing.assert_allclose(embedding.vector, sampling.embed_query("x", think=False).vector, atol=1e-6)


def test_a_stream_of_several_samples_has_the_first_thought(sampling: T1Embedder) -> None:
    *pieces, embedding = sampling.stream_query("which tongues", samples=3, budget=12)
    assert isinstance(embedding, QueryEmbedding)
    assert len(embedding.thoughts) == 3
    assert "".join(map(str, pieces)) == embedding.thoughts[0].text


def test_an_error_of_the_model_ends_the_stream(sampling: T1Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    def think(*_: Any, on_tokens: Any, **__: Any) -> Any:
        on_tokens(0, sampling._prompter.encode(["word"])[0].ids)
        raise RuntimeError("broken")

    monkeypatch.setattr(sampling._backend, "think", think)
    stream = sampling.stream_query("x")
    assert next(stream)
    with pytest.raises(RuntimeError, match="broken"):
        list(stream)


@pytest.mark.parametrize(
    "text",
    ["  a thought with space at its ends \n", "žluťoučký 🐎 こんにちは", "<emb_token> as text", "a  b\n\n c", ""],
)
def test_pieces_form_the_text(sampling: T1Embedder, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """For any tokens, even if the last character is incomplete."""
    whole = sampling._prompter.encode([text])[0].ids
    for ids in (whole, whole[:-1]):
        monkeypatch.setattr(sampling._backend, "think", _generating(sampling._backend.think, ids))
        *pieces, embedding = sampling.stream_query("x")
        monkeypatch.undo()
        assert isinstance(embedding, QueryEmbedding)
        assert "".join(map(str, pieces)) == embedding.thoughts[0].text == sampling._prompter.thought_text(ids)


def _generating(think: Any, ids: Sequence[int]) -> Any:
    def generate(*arguments: Any, on_tokens: Any, **options: Any) -> Any:
        for token in ids:
            on_tokens(0, [token])
        [thought] = think(*arguments, **options)
        return [type(thought)(ids, thought.stop, thought.state)]

    return generate


def test_no_token_is_reported_twice_when_memory_runs_out(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thoughts continue from the tokens that they have, fewer at a time, and are the same ones."""
    embedder = T1Embedder.load(tiny, dtype="float32")
    prompts = [prompt.ids for prompt in embedder._prompter.queries(QUERIES[:4], think=True)]
    reported: list[list[int]] = [[] for _ in prompts]
    step = ThoughtBatch.step

    def limited(self: ThoughtBatch) -> None:
        step(self)
        if len(self.thoughts) > 2 and len(self.thoughts[0].ids) > 3:
            raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(ThoughtBatch, "step", limited)
    with pytest.warns(OutOfMemoryWarning):
        thoughts = embedder._backend.think(
            prompts,
            embedder.spec.decoding.model_copy(update={"max_tokens": 8}),
            on_tokens=lambda i, new: reported[i].extend(new),
        )
    assert reported == [list(thought.ids) for thought in thoughts]
