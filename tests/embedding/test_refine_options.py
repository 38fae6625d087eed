"""Options of refining, in a call, in the checkpoint and through the store, and errors for invalid ones."""

from __future__ import annotations

from typing import Any

import pytest

from t1_vectorstore import CheckpointSpec, Document, T1Embedder, T1VectorStore
from t1_vectorstore.checkpoints.spec import Refining
from t1_vectorstore.embedding.thinking import ThinkingPlan, merge_options, plan_thinking
from t1_vectorstore.options import ThinkingOptions


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"refine_steps": -1}, ValueError, "refine_steps must be greater than or equal to 0, got -1"),
        ({"refine_steps": 65}, ValueError, "refine_steps must be less than or equal to 64, got 65"),
        ({"refine_steps": True}, TypeError, "refine_steps must be a valid integer, got True"),
        ({"refine_steps": 1.0}, TypeError, "refine_steps must be a valid integer, got 1.0"),
        ({"refine_steps": "2"}, TypeError, "refine_steps must be a valid integer, got '2'"),
        ({"refine_steps": 2, "refine": "max"}, ValueError, "refine must be 'mean' or 'last', got 'max'"),
        ({"refine": "mean"}, ValueError, "refine='mean' combines .* refine_steps is 0; raise it"),
        ({"refine_steps": 0, "refine": "last"}, ValueError, "refine_steps is 0; raise it"),
    ],
)
def test_invalid_options_are_refused(options: dict[str, Any], error: type[Exception], message: str) -> None:
    embedder = T1Embedder.fake()
    for think in (True, False):
        with pytest.raises(error, match=message):
            embedder.embed_query("a", think=think, **options)


@pytest.mark.parametrize("wrong", [{"steps": -1}, {"steps": 65}, {"steps": True}, {"aggregate": "max"}, {"step": 1}])
def test_invalid_specifications_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"refining\.{next(iter(wrong))}"):
        CheckpointSpec().with_overrides({"refining": wrong})


def plan(spec: CheckpointSpec, max_positions: int | None = None, **options: Any) -> ThinkingPlan:
    return plan_thinking(spec, ThinkingOptions(**options), max_positions)


def test_budget_and_refine_steps_must_fit_the_model() -> None:
    spec = CheckpointSpec(max_query_tokens=512)
    assert plan(spec, 624, budget=100, refine_steps=11).refining == Refining(steps=11)
    with pytest.raises(ValueError, match=r"a budget of 100 tokens and 12 refine steps do .* At most 111 are left"):
        plan(spec, 624, budget=100, refine_steps=12)
    assert plan(spec, 520, think=False, refine_steps=8).refining.steps == 8
    with pytest.raises(ValueError, match=r"^9 refine steps do not fit.* At most 8 are left"):
        plan(spec, 520, think=False, refine_steps=9)
    plan(spec, 512, think=False)


def test_a_call_can_override_the_checkpoints_default() -> None:
    spec = CheckpointSpec().with_overrides({"refining": {"steps": 3}})
    assert plan(spec).refining == Refining(steps=3)
    assert plan(spec, refine="last").refining == Refining(steps=3, aggregate="last")
    assert plan(spec, refine_steps=0).refining.steps == 0
    both = spec.with_overrides({"refining": {"aggregate": "last"}})
    assert plan(both).refining == Refining(steps=3, aggregate="last")
    assert both.identity_fields("document") == CheckpointSpec().identity_fields("document")  # documents are the same
    assert both.identity_fields("query") != CheckpointSpec().identity_fields("query")


def test_the_nearest_level_decides() -> None:
    far = ThinkingOptions(refine_steps=2, refine="mean", budget=9)
    assert merge_options(ThinkingOptions(refine_steps=4), far).refine == "mean"
    assert merge_options(ThinkingOptions(refine="last"), far).refine_steps == 2
    off = merge_options(ThinkingOptions(refine_steps=0), far)
    assert (off.refine_steps, off.refine, off.budget) == (0, None, 9)


@pytest.mark.parametrize("backend", ["vllm", "remote"])
def test_backends_that_accept_only_tokens_refuse_refining_before_they_start(
    backend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("t1_vectorstore.backends.loading.check_installed", lambda name: None)
    servers = {"generate_url": "http://127.0.0.1:9", "embed_url": "http://127.0.0.1:9"}
    options = servers if backend == "remote" else None
    with pytest.raises(ValueError, match=r"refine_steps=2 feeds hidden states back .* use backend='transformers'"):
        T1Embedder.load("t1-mini", backend=backend, engine_options=options, overrides={"refining": {"steps": 2}})


async def test_refining_in_searches_of_a_store() -> None:
    embedder = T1Embedder.fake()
    store = T1VectorStore.open(":memory:", embedder)
    store.add([Document("Oslo is in Norway."), Document("Lima is in Peru.")])
    for refine_steps, refine in ((2, "last"), (3, "mean"), (3, None), (0, None)):
        vector = embedder.embed_query("Oslo", refine_steps=refine_steps, refine=refine).vector
        expected = [hit.score for hit in store.collection.search(vector)]
        options: dict[str, Any] = {"refine_steps": refine_steps, "refine": refine}
        assert [hit.score for hit in store.search("Oslo", **options).hits] == expected
        assert [hit.score for hit in (await store.asearch("Oslo", **options)).hits] == expected
        assert (expected == [hit.score for hit in store.search("Oslo").hits]) == (not refine_steps)
