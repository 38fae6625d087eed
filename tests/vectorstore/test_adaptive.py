"""``think="auto"``: searches that think only if the ranking without a thought is unsure."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from t1_vectorstore import Document, SearchResult, T1Embedder, T1VectorStore
from t1_vectorstore.collection import Collection
from t1_vectorstore.errors import StoreError
from t1_vectorstore.searching.deciding import DEFAULT_THRESHOLD
from t1_vectorstore.types import Calibration

DOCUMENTS = [
    Document("Oslo is the capital of Norway.", id="norway", metadata={"country": "Norway"}),
    Document("Paris is the capital of France.", id="france", metadata={"country": "France"}),
    Document("Wheat grows in the fields of France.", id="wheat", metadata={"country": "France"}),
    *(Document(f"Number {n} is between {n - 1} and {n + 1}.", id=f"n{n}") for n in range(60)),
]
QUERY = "what is exported by the country whose capital is Oslo"
ALWAYS, NEVER = {"think": "auto", "think_threshold": 0.0}, {"think": "auto", "think_threshold": 1.0}
CALIBRATION = Calibration(0.125, 40, labelled=True, quality=0.98, tokens=0.5, fitted="2026-01-01T00:00:00+00:00")


@pytest.fixture(scope="module", params=["embedded", "memory"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[T1VectorStore]:
    location = tmp_path_factory.mktemp("index") if request.param == "embedded" else ":memory:"
    with T1VectorStore.open(location, T1Embedder.fake(), hybrid=True) as store:
        store.add(DOCUMENTS)
        yield store


@pytest.fixture(scope="module")
def in_memory() -> Iterator[T1VectorStore]:
    with T1VectorStore.open(":memory:", T1Embedder.fake()) as store:
        yield store


def same(one: SearchResult, other: SearchResult) -> bool:
    return (one.hits, one.thoughts, one.truncated) == (other.hits, other.thoughts, other.truncated)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"hybrid": False, "filter": {"country": "France"}},
        {"offset": 3, "limit": 4},
        {"group": True, "diversity": 0.3},
        {"budget": 7, "deadline": 60.0},
        {"refine_steps": 2, "score_threshold": 0.1},
        {"vector_weight": 0.7},
    ],
)
def test_the_result_is_that_of_thinking_or_of_not_thinking(store: T1VectorStore, options: dict[str, Any]) -> None:
    limits = {"budget", "deadline"}
    unlimited = {name: value for name, value in options.items() if name not in limits}
    thinking, plain = store.search(QUERY, **options), store.search(QUERY, think=False, **unlimited)
    assert thinking.decision is plain.decision is None
    always, never = store.search(QUERY, **ALWAYS, **options), store.search(QUERY, **NEVER, **options)
    assert same(always, thinking)
    assert same(never, plain)
    assert always.decision is not None is not never.decision
    assert (always.decision.thought, never.decision.thought) == (True, False)
    assert always.decision.score == never.decision.score
    assert asdict(always)["decision"]["threshold"] == 0
    awaited = asyncio.run(store.asearch(QUERY, **ALWAYS, **options))
    assert same(awaited, thinking)
    assert awaited.decision == always.decision
    *pieces, streamed = store.stream(QUERY, **ALWAYS, **options)
    assert isinstance(streamed, SearchResult)
    assert same(streamed, thinking)
    assert "".join(map(str, pieces)) == thinking.thoughts[0].text
    [unthought] = store.stream(QUERY, **NEVER, **options)
    assert isinstance(unthought, SearchResult)
    assert same(unthought, plain)

    async def read() -> list[Any]:
        return [item async for item in store.astream(QUERY, **ALWAYS, **options)]

    *apieces, result = asyncio.run(read())
    assert apieces == pieces
    assert same(result, thinking)


def test_all_pages_are_of_one_ranking(store: T1VectorStore) -> None:
    """The decision does not depend on the page, even if its hits are unsure and those of the first page are not."""
    decisions = [
        store.search(QUERY, think="auto", offset=offset, limit=limit, **more).decision
        for offset, limit in ((0, 1), (0, 30), (20, 5), (500, 5))
        for more in ({}, {"hybrid": False}, {"group": True}, {"diversity": 0.5}, {"score_threshold": 0.9})
    ]
    assert len(set(decisions)) == 1
    whole = store.search(QUERY, think="auto", limit=40).hits
    pages = [store.search(QUERY, think="auto", limit=10, offset=at, candidates=160).hits for at in (0, 10, 20, 30)]
    assert [hit.id for page in pages for hit in page] == [hit.id for hit in whole]


def test_a_filter_that_leaves_one_document_saves_the_thought(store: T1VectorStore) -> None:
    result = store.search(QUERY, **ALWAYS, filter={"country": "Norway"})
    assert result.decision is not None
    assert not result.decision.thought
    assert "only one document" in result.decision.reason
    assert [hit.id for hit in result.hits] == ["norway"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"think": "always"}, ValueError, "think must be a valid boolean or 'auto', got 'always'"),
        ({"think": 1}, TypeError, "think must be a valid boolean or 'auto', got 1"),
        ({"think_threshold": 0.5}, ValueError, "think_threshold=0.5 is for think='auto', and think=None"),
        ({"think": True, "think_threshold": 0.5}, ValueError, "is for think='auto', and think=True"),
        ({"think": "auto", "think_threshold": 1.5}, ValueError, "less than or equal to 1, got 1.5"),
        ({"think": "auto", "think_threshold": float("nan")}, ValueError, "greater than or equal to 0, got nan"),
        ({"think": "auto", "samples": 3}, ValueError, "samples=3, but decoding is greedy"),
    ],
)
def test_wrong_options_are_refused_before_the_model_runs(
    in_memory: T1VectorStore,
    options: dict[str, Any],
    error: type[Exception],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for verb in ("think", "encode", "refine"):
        monkeypatch.setattr(in_memory.embedder._backend, verb, lambda *_, **__: pytest.fail("the model ran"))
    with pytest.raises(error, match=message):
        in_memory.search(QUERY, **options)
    with pytest.raises(error, match=message):
        list(in_memory.stream(QUERY, **options))


def test_embedding_a_query_has_no_ranking_to_decide_by() -> None:
    embedder = T1Embedder.fake()
    for embed in (embedder.embed_query, embedder.stream_query, lambda text, **o: embedder.embed_queries([text], **o)):
        with pytest.raises(ValueError, match=r"think='auto' decides by a ranking .* search a T1VectorStore"):
            embed(QUERY, think="auto")  # type: ignore[operator]


def test_a_long_query_is_reported_once(store: T1VectorStore) -> None:
    with pytest.warns(UserWarning, match="query") as warned:
        result = store.search("word " * 3000, **ALWAYS, hybrid=False)
    assert len(warned) == 1
    assert result.truncated is not None


@pytest.mark.parametrize("engine", ["embedded", "memory"])
def test_calibration_is_stored_with_the_collection(engine: str, tmp_path: Path) -> None:
    where = ":memory:" if engine == "memory" else tmp_path
    with T1VectorStore.open(where, T1Embedder.fake()) as store:
        store.add(DOCUMENTS[:3])
        default = store.search(QUERY, think="auto").decision
        assert default is not None
        assert default.threshold == DEFAULT_THRESHOLD
        store.collection.save_calibration(CALIBRATION)
        assert store.collection.calibration == store.collection.info().calibration == CALIBRATION
        calibrated = store.search(QUERY, think="auto").decision
        given = store.search(QUERY, think="auto", think_threshold=0.75).decision
        assert calibrated is not None is not given
        assert (calibrated.threshold, given.threshold) == (0.125, 0.75)
        load = store.collection.latest_load
    if engine == "embedded":
        with Collection.open(tmp_path) as again:
            assert (again.calibration, again.latest_load) == (CALIBRATION, load)
        with Collection.open(tmp_path, read_only=True) as copy, pytest.raises(StoreError, match="read_only"):
            copy.save_calibration(CALIBRATION)


def test_a_damaged_calibration_is_ignored() -> None:
    assert Calibration.from_json({**CALIBRATION.to_json(), "later": 1}) == CALIBRATION
    for damaged in (None, [], {}, {**CALIBRATION.to_json(), "threshold": 2}, {**CALIBRATION.to_json(), "queries": "x"}):
        assert Calibration.from_json(damaged) is None


def test_a_model_that_does_not_think_refuses(tmp_path: Path) -> None:
    embedder = T1Embedder.load("t1-mini", overrides={"thinks": False})
    with T1VectorStore.open(tmp_path, embedder) as store, pytest.raises(ValueError, match="does not generate thoughts"):
        store.search(QUERY, think="auto")
