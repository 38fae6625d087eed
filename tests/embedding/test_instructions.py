"""An own instruction for a query."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from t1_vectorstore import T1Embedder
from t1_vectorstore.embedding.thinking import merge_options
from t1_vectorstore.errors import InvalidText
from t1_vectorstore.options import ThinkingOptions

PROMPT = "<query>{instruction} {text}<think>"
OWN = "find the exports of a country"


@pytest.fixture(scope="module")
def embedder() -> T1Embedder:
    overrides = {"query_prompt": PROMPT, "query_prompt_no_think": "<query>{text}", "tasks": {"law": "find laws"}}
    return T1Embedder.load(threads=1, overrides=overrides)


def test_it_takes_the_place_of_the_checkpoints_own(embedder: T1Embedder) -> None:
    written = T1Embedder.load(threads=1, overrides={"query_prompt": PROMPT, "query_instruction": OWN})
    own, other = embedder.embed_query("norway", instruction=OWN), embedder.embed_query("norway")
    assert (own.vector == written.embed_query("norway").vector).all()
    assert (own.vector != other.vector).any()
    assert (embedder.embed_query("norway", task="law").vector != own.vector).any()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"instruction": "find {text}"}, ValueError, "contains '{text}'"),
        ({"instruction": "find {instruction}"}, ValueError, "contains '{instruction}'"),
        ({"instruction": "find <emb_token>"}, ValueError, "contains '<emb_token>'"),
        ({"instruction": " "}, InvalidText, "the instruction is only white space"),
        ({"instruction": ""}, ValueError, "instruction must have at least 1 character"),
        ({"instruction": "\ud800"}, InvalidText, "surrogate"),
        ({"instruction": 3}, TypeError, "instruction must be a valid string, got 3"),
        ({"instruction": OWN, "task": "law"}, ValueError, "give one of them"),
        ({"instruction": OWN, "think": False}, ValueError, "has no {instruction}"),
        ({"instruction": "word " * 1000}, ValueError, "does not fit"),
    ],
)
def test_mistakes_are_refused_before_the_model_runs(
    embedder: T1Embedder, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    monkeypatch.setattr(embedder, "_backend", SimpleNamespace(max_positions=None))
    with pytest.raises(error, match=message):
        embedder.embed_query("norway", **options)


def test_a_prompt_without_a_place_for_it_refuses_it() -> None:
    with pytest.raises(ValueError, match=r"prompt of queries has no \{instruction\}"):
        T1Embedder.load(threads=1, lazy=True).embed_query("norway", instruction=OWN)


def test_the_nearest_level_decides() -> None:
    call, model = ThinkingOptions(instruction=OWN), ThinkingOptions(task="law")
    assert merge_options(call, model).task is None
    assert merge_options(model, call).instruction is None
    assert merge_options(ThinkingOptions(), call).instruction == OWN
