"""Options are validated at every entry point, with errors of one line, before anything expensive happens."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from t1_vectorstore import Document, T1Embedder, T1VectorStore
from t1_vectorstore.collection import Collection
from t1_vectorstore.errors import InvalidText
from t1_vectorstore.options import CollectionOptions, SearchOptions, Storage, ThinkingOptions

NAN = float("nan")


@pytest.fixture(scope="module")
def store() -> T1VectorStore:
    store = T1VectorStore.open(":memory:", T1Embedder.fake(8), hybrid=True)
    store.add([Document("Oslo is the capital of Norway.", id="norway")])
    return store


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("limit", 0, ValueError, "limit must be greater than or equal to 1, got 0"),
        ("limit", 2**31, ValueError, "limit must be less than or equal to 2147483647, got 2147483648"),
        ("limit", "3", TypeError, "limit must be a valid integer, got '3'"),
        ("limit", 2.0, TypeError, "limit must be a valid integer, got 2.0"),
        ("limit", True, TypeError, "limit must be a valid integer, got True"),
        ("limit", None, TypeError, "limit must be a valid integer, got None"),
        ("limit", np.ones((2, 2)), TypeError, "limit must be a valid integer, got array([[1., 1.],        [1., 1.]])"),
        ("score_threshold", NAN, ValueError, "score_threshold must be greater than or equal to -1, got nan"),
        ("score_threshold", True, TypeError, "score_threshold must be a valid number, got True"),
        ("hybrid", "rrf", TypeError, "hybrid must be a valid boolean, got 'rrf'"),
        ("group", None, TypeError, "group must be a valid boolean, got None"),
        ("fusion", "sum", ValueError, "fusion must be 'rrf' or 'dbsf', got 'sum'"),
        ("fusion", ["rrf"], TypeError, "fusion must be 'rrf' or 'dbsf', got ['rrf']"),
        ("truncation", "silent", ValueError, "truncation must be 'raise', 'warn' or 'allow', got 'silent'"),
        ("deadline", NAN, ValueError, "deadline must be greater than 0, got nan"),
        ("task", 3, TypeError, "task must be a valid string, got 3"),
        ("limt", 3, TypeError, "unknown option 'limt'; did you mean 'limit'? The options are budget, candidates, "),
        ("documents", 3, TypeError, "unknown option 'documents'. The options are budget, candidates, "),
    ],
)
async def test_a_search_refuses_wrong_options(
    store: T1VectorStore,
    name: str,
    value: object,
    error: type[Exception],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(store.embedder, "embed_query", lambda *_, **__: pytest.fail("the model ran"))
    given: dict[str, Any] = {name: value}
    with pytest.raises(error) as raised:
        store.search("capital", **given)
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)
    with pytest.raises(error) as awaited:
        await store.asearch("capital", **given)
    assert str(awaited.value) == str(raised.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vector_weight": 0.5, "fusion": "dbsf"}, "vector_weight=0.5 weights ranks, and fusion='dbsf' adds scores"),
        ({"vector_weight": 0.5, "hybrid": False}, "vector_weight=0.5 weights the vector against words"),
        ({"diversity": 0.5, "limit": 16_385}, "a diverse search chooses from at most 16384 candidates, got 16385"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    store: T1VectorStore, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        store.search("capital", **options)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda e: T1Embedder.load(model=3), TypeError, "model must be a valid string, got 3"),
        (lambda e: T1Embedder.load("t1-mini", devices=[1]), TypeError, "devices.0 must be a valid string, got 1"),
        (
            lambda e: T1Embedder.load("t1-mini", devise="cpu"),
            TypeError,
            "unknown option 'devise'; did you mean 'device'",
        ),
        (lambda e: e.embed_query("a", thoughts=["b"]), TypeError, "unknown option 'thoughts'"),
        (lambda e: e.embed_queries(["a"], thoughts="b"), TypeError, "expected several thought texts, got one str"),
        (
            lambda e: e.embed_documents(["a"], truncation="cut"),
            ValueError,
            "truncation must be 'raise', 'warn' or 'allow', got 'cut'",
        ),
        (
            lambda e: T1VectorStore.open(":memory:", e, nmae="x"),
            TypeError,
            "unknown option 'nmae'; did you mean 'name'",
        ),
        (
            lambda e: T1VectorStore.open(":memory:", e, name="a\ud800"),
            InvalidText,
            r"name 'a\ud800' has a lone surrogate",
        ),
        (lambda e: T1VectorStore.open(":memory:", e, timeout=0), ValueError, "timeout must be greater than 0, got 0"),
        (
            lambda e: T1VectorStore.open(":memory:", e, indexes={"year": "number"}),
            ValueError,
            "indexes.year must be 'keyword', 'integer', 'float', 'bool', 'datetime' or 'text', got 'number'",
        ),
        (
            lambda e: T1VectorStore.open(":memory:", e, storage="int8"),
            TypeError,
            "storage must be a valid dictionary or instance of Storage, got 'int8'",
        ),
        (lambda e: Collection.open(":memory:", identity="t1"), TypeError, "identity must be "),
        (lambda e: Storage(m=1), ValueError, "m must be greater than or equal to 2, got 1"),
        (lambda e: Storage(shard_keys=[""]), ValueError, "shard_keys.0 must have at least 1 character, got ''"),
        (lambda e: Storage(shards=2.0), TypeError, "shards must be a valid integer, got 2.0"),
        (lambda e: Storage(on_disc=True), TypeError, "unknown option 'on_disc'; did you mean 'on_disk'"),
    ],
)
def test_every_entry_point_refuses_wrong_options(
    call: Callable[[T1Embedder], object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as raised:
        call(T1Embedder.fake(8))
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


def test_secrets_are_not_in_errors() -> None:
    for options in (
        {"token": "secret", "device": "cpu", "devices": ["cpu"]},
        {"engine_options": {"api_key": "secret"}},
    ):
        with pytest.raises(ValueError, match=r"give one of them|engine_options \['api_key'\] are for") as raised:
            T1Embedder.load("t1-mini", **options)
        assert "secret" not in str(raised.value)


def test_numpy_numbers_are_accepted(store: T1VectorStore) -> None:
    options = SearchOptions(limit=np.int64(2), score_threshold=np.float32(0.5), budget=np.uint8(3))
    assert (options.limit, options.score_threshold, options.budget) == (2, 0.5, 3)
    assert [type(value) for value in (options.limit, options.score_threshold, options.budget)] == [int, float, int]
    assert len(store.search("capital", limit=np.int64(1)).hits) == 1  # type: ignore[arg-type]


def test_arguments_can_be_passed_by_keyword_and_options_only_so(store: T1VectorStore, tmp_path: Path) -> None:
    embedder, vector = store.embedder, [1.0] * 8
    assert store.search(query="capital").hits == store.search("capital").hits  # type: ignore[call-arg]
    assert store.collection.search(vector=vector, limit=1) == store.collection.search(vector, limit=1)  # type: ignore[call-arg]
    assert embedder.embed_query(text="a").query == "a"  # type: ignore[call-arg]
    assert len(embedder.embed_documents(texts=["a"]).vectors) == 1
    with T1VectorStore.open(location=tmp_path, embedder=embedder, create=True) as other:  # type: ignore[call-arg]
        assert other.add(documents=[Document("a")]).stored == 1  # type: ignore[call-arg]
    assert T1Embedder.load(model="t1-mini", device="cpu").identity.model == "t1-mini"
    with pytest.raises(TypeError, match=r"T1VectorStore.search takes its options by keyword, got \(3,\)"):
        store.search("capital", 3)  # type: ignore[call-arg, misc]


def test_help_shows_the_options() -> None:
    assert str(inspect.signature(T1VectorStore.search)).startswith(
        "(self, query: 'str', *, limit: 'int' = 10, offset: 'int' = 0, filter: 'FilterLike | None' = None, "
    )
    assert str(inspect.signature(T1Embedder.load)).startswith(
        "(model: 'str | Path' = 't1-mini', *, preset: 'str | None'"
    )
    assert "thoughts: 'Sequence[str] | None' = None" in str(inspect.signature(T1Embedder.embed_queries))
    assert inspect.iscoroutinefunction(T1VectorStore.asearch)
    assert not inspect.iscoroutinefunction(T1VectorStore.search)


def test_options_are_frozen_and_can_be_copied_and_pickled() -> None:
    for options in (ThinkingOptions(budget=3), Storage(m=20), CollectionOptions(storage=Storage(m=20), hybrid=True)):
        assert copy.deepcopy(options) == pickle.loads(pickle.dumps(options)) == options
        name = next(iter(options.model_fields_set))
        with pytest.raises(ValueError, match=f"^{name}: .*frozen"):
            setattr(options, name, None)
    assert repr(Storage(m=20, quantization="int8")) == "Storage(quantization='int8', m=20)"
