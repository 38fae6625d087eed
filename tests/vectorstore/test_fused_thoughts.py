"""Several thoughts as one search each, which the engine fuses."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from t1_vectorstore import Document, SearchResult, T1Embedder, T1VectorStore

DOCUMENTS = [
    Document("Oslo is the capital of Norway.", id="norway", metadata={"country": "Norway"}),
    Document("Paris is the capital of France.", id="france", metadata={"country": "France"}),
    Document("Wheat grows in the fields of France.", id="wheat", metadata={"country": "France"}),
    *(Document(f"Number {n} is between {n - 1} and {n + 1}.", id=f"n{n}") for n in range(30)),
]
QUERY = "what is exported by the country whose capital is Oslo"
FUSED = {"samples": 4, "combine": "rrf"}


@pytest.fixture(scope="module", params=["embedded", "memory"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[T1VectorStore]:
    embedder = T1Embedder.load("t1-mini", overrides={"decoding": {"temperature": 1.5, "max_tokens": 12}})
    location = tmp_path_factory.mktemp("index") if request.param == "embedded" else ":memory:"
    with embedder, T1VectorStore.open(location, embedder, hybrid=True) as store:
        store.add(DOCUMENTS)
        yield store


@pytest.mark.parametrize(
    "options",
    [{"hybrid": False}, {}, {"vector_weight": 0.7}, {"hybrid": False, "group": True, "filter": {"country": "France"}}],
    ids=str,
)
def test_the_thoughts_are_searched_one_by_one(store: T1VectorStore, options: dict[str, Any]) -> None:
    embedding = store.embedder.embed_query(QUERY, samples=4)
    assert embedding.thought_vectors is not None
    assert len({thought.text for thought in embedding.thoughts}) > 1
    ranking = {name: value for name, value in options.items() if name != "hybrid"}
    if "hybrid" not in options:
        ranking["text"] = "\n".join([QUERY, *(thought.text for thought in embedding.thoughts)])
    expected = store.collection.search(embedding.vector, fused_vectors=embedding.thought_vectors, **ranking)
    result = store.search(QUERY, **FUSED, **options)
    assert list(result.hits) == expected
    assert result.thoughts == embedding.thoughts
    by_id = {point.chunk.id: point.vector for point in store.collection.read_points(hit.id for hit in result.hits)}
    for hit in result.hits:  # the score is the similarity to the mean
        assert hit.score == pytest.approx(float(np.dot(by_id[hit.id], embedding.vector)), abs=1e-5)
    assert asyncio.run(store.asearch(QUERY, **FUSED, **options)).hits == result.hits
    *_, streamed = store.stream(QUERY, **FUSED, **options)
    assert isinstance(streamed, SearchResult)
    assert streamed.hits == result.hits
    assert store.search(QUERY, samples=4, **options).hits != result.hits or options.get("group")


def test_it_is_one_query_of_the_engine(store: T1VectorStore, monkeypatch: pytest.MonkeyPatch) -> None:
    queries: list[Any] = []
    nearest = store.collection._engine.nearest
    monkeypatch.setattr(store.collection._engine, "nearest", lambda query: (queries.append(query), nearest(query))[1])
    store.search(QUERY, **FUSED)
    assert len(queries) == 1
    assert len(queries[0].vectors) == 4


def test_with_one_thought_both_are_the_same(store: T1VectorStore) -> None:
    for options in ({}, {"think": False}, {"samples": 1}):
        assert store.search(QUERY, combine="rrf", **options).hits == store.search(QUERY, **options).hits
    auto = store.search(QUERY, think="auto", think_threshold=0.0, **FUSED)
    assert auto.hits == store.search(QUERY, **FUSED).hits
    never = store.search(QUERY, think="auto", think_threshold=1.0, **FUSED)
    assert never.hits == store.search(QUERY, think=False).hits
    with pytest.raises(ValueError, match="combine must be 'mean' or 'rrf', got 'max'"):
        store.search(QUERY, combine="max")  # type: ignore[arg-type]


def test_pages_are_parts_of_one_ranking(store: T1VectorStore) -> None:
    whole = store.search(QUERY, limit=20, candidates=33, **FUSED).hits
    pages = [store.search(QUERY, limit=5, offset=at, candidates=33, **FUSED).hits for at in (0, 5, 10, 15)]
    assert [hit for page in pages for hit in page] == list(whole)
