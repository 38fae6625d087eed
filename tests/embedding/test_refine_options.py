"""How a refinement is asked for: by a call, by the checkpoint, through the store; and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from t1_vectorstore import CheckpointSpec, Document, T1Embedder, T1VectorStore
from t1_vectorstore.checkpoints.spec import Refining
from t1_vectorstore.embedding.thinking import plan, settled


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        ({"refine_steps": -1}, ValueError, "from 0 .no refining. to 64, got -1"),
        ({"refine_steps": 65}, ValueError, "from 0 .no refining. to 64, got 65"),
        ({"refine_steps": True}, TypeError, "whole number of passes, got True"),
        ({"refine_steps": 1.0}, TypeError, "whole number of passes, got 1.0"),
        ({"refine_steps": "2"}, TypeError, "whole number of passes, got '2'"),
        ({"refine_steps": 2, "refine": "max"}, ValueError, "refine is one of mean, last, got 'max'"),
        ({"refine": "mean"}, ValueError, "refine='mean' says .* refine_steps is 0; raise it"),
        ({"refine_steps": 0, "refine": "last"}, ValueError, "refine_steps is 0; raise it"),
    ],
)
def test_wrong_values(asked: dict[str, Any], error: type[Exception], words: str) -> None:
    embedder = T1Embedder.fake()
    for think in (True, False):
        with pytest.raises(error, match=words):
            embedder.embed_query("a", think=think, **asked)


@pytest.mark.parametrize("wrong", [{"steps": -1}, {"steps": 65}, {"steps": True}, {"aggregate": "max"}, {"step": 1}])
def test_wrong_specifications(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"refining\.{next(iter(wrong))}"):
        CheckpointSpec().with_overrides({"refining": wrong})


def test_room() -> None:
    spec = CheckpointSpec(max_query_tokens=512)
    assert plan(spec, budget=100, refine_steps=11, max_positions=624).refining == Refining(steps=11)
    with pytest.raises(ValueError, match=r"a budget of 100 tokens and 12 refine steps: .* At most 111 are left"):
        plan(spec, budget=100, refine_steps=12, max_positions=624)
    assert plan(spec, think=False, refine_steps=8, max_positions=520).refining.steps == 8
    with pytest.raises(ValueError, match=r"no room for 9 refine steps: .* At most 8 are left"):
        plan(spec, think=False, refine_steps=9, max_positions=520)
    plan(spec, think=False, max_positions=512)


def test_the_checkpoint_has_a_default_that_a_call_can_change() -> None:
    spec = CheckpointSpec().with_overrides({"refining": {"steps": 3}})
    assert plan(spec).refining == Refining(steps=3)
    assert plan(spec, refine="last").refining == Refining(steps=3, aggregate="last")
    assert plan(spec, refine_steps=0).refining.steps == 0
    both = spec.with_overrides({"refining": {"aggregate": "last"}})
    assert plan(both).refining == Refining(steps=3, aggregate="last")
    assert both.identity_fields("document") == CheckpointSpec().identity_fields("document")  # documents are the same
    assert both.identity_fields("query") != CheckpointSpec().identity_fields("query")


def test_the_nearest_layer_decides() -> None:
    far = {"refine_steps": 2, "refine": "mean", "budget": 9}
    assert settled({"refine_steps": 4}, far)["refine"] == "mean"
    assert settled({"refine": "last"}, far)["refine_steps"] == 2
    off = settled({"refine_steps": 0}, far)
    assert (off["refine_steps"], off["refine"], off["budget"]) == (0, None, 9)


@pytest.mark.parametrize("backend", ["vllm", "remote"])
def test_backends_that_take_only_tokens_refuse_before_they_start(backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("t1_vectorstore.backends.options.check_installed", lambda name: None)
    servers = {"generate_url": "http://127.0.0.1:9", "embed_url": "http://127.0.0.1:9"}
    options = servers if backend == "remote" else None
    with pytest.raises(ValueError, match=r"refine_steps=2 feeds hidden states back .* use backend='transformers'"):
        T1Embedder.load("t1-mini", backend=backend, engine_options=options, overrides={"refining": {"steps": 2}})


async def test_through_the_store() -> None:
    embedder = T1Embedder.fake()
    store = T1VectorStore.open(":memory:", embedder)
    store.add([Document("Oslo is in Norway."), Document("Lima is in Peru.")])
    for refine_steps, refine in ((2, "last"), (3, "mean"), (3, None), (0, None)):
        vector = embedder.embed_query("Oslo", refine_steps=refine_steps, refine=refine).vector
        expected = [hit.score for hit in store.collection.search(vector)]
        asked: dict[str, Any] = {"refine_steps": refine_steps, "refine": refine}
        assert [hit.score for hit in store.search("Oslo", **asked).hits] == expected
        assert [hit.score for hit in (await store.asearch("Oslo", **asked)).hits] == expected
        assert (expected == [hit.score for hit in store.search("Oslo").hits]) == (not refine_steps)
