"""The searches of ``T1QdrantVectorStore``, on every engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from qdrant_client import models

from t1_vectorstore import Document as T1Document
from t1_vectorstore.langchain import T1Embeddings, T1QdrantVectorStore
from tests.langchain_adapter.conftest import DOCUMENTS, count, ids


@pytest.fixture
def hybrid(place: dict[str, Any], embeddings: T1Embeddings) -> Iterator[T1QdrantVectorStore]:
    """A hybrid store with an index on the year."""
    options: Any = {**place, "hybrid": True, "indexes": {"year": "integer"}, "tenant": "country"}
    with T1QdrantVectorStore.from_documents(DOCUMENTS, embeddings, **options) as store:
        yield store


def test_a_hybrid_store_searches_by_words_too(hybrid: T1QdrantVectorStore) -> None:
    far = [-value for value in hybrid.embeddings.embed_query("Oslo is the capital of Norway.")]
    assert ids(hybrid.similarity_search_by_vector(far, k=3))[-1] == "norway"
    assert ids(hybrid.similarity_search_by_vector(far, k=3, text="Oslo Norway"))[0] == "norway"
    query = "Norway"
    by_vector = hybrid.similarity_search_with_score(query, k=3, hybrid=False)
    by_both = hybrid.similarity_search_with_score(query, k=3, fusion="dbsf")
    assert by_both[0][0].id == "norway"
    assert {(each.id, score) for each, score in by_both} == {(each.id, score) for each, score in by_vector}
    assert ids(hybrid.as_retriever(k=1).invoke(query)) == ["norway"]
    assert ids(hybrid.as_retriever(k=3, vector_weight=0, think=False).invoke(query)) == [
        "norway"
    ]  # the only one with the word
    by_weight = hybrid.similarity_search_with_score(query, k=3, vector_weight=1)
    assert by_weight == by_vector
    assert ids(hybrid.similarity_search(query, filter={"country": "France", "year": {"gte": 2000}})) == ["wheat"]


def test_searching_by_words_needs_a_hybrid_store(store: T1QdrantVectorStore) -> None:
    with pytest.raises(ValueError, match="hybrid=True"):
        store.similarity_search("Norway", hybrid=True)


def test_grouping_returns_one_chunk_of_each_document(store: T1QdrantVectorStore) -> None:
    text = "Fjords and mountains of the north. "
    store.t1.add([T1Document(text * 100, id="long"), T1Document(text, id="short")])
    assert len({str(each).partition("#")[0] for each in ids(store.similarity_search(text, k=3))}) < 3
    grouped = ids(store.as_retriever(k=3, group=True).invoke(text))
    assert {str(each).partition("#")[0] for each in grouped} >= {"long", "short"}
    assert len({str(each).partition("#")[0] for each in grouped}) == 3


def test_scores_and_thresholds_are_cosine_similarities_everywhere(store: T1QdrantVectorStore) -> None:
    query = "capital of France"
    scored = store.similarity_search_with_score(query, k=3)
    scores = [score for _, score in scored]
    assert scores == sorted(scores, reverse=True)
    [vector] = [store.embeddings.embed_query(query)]
    assert store.similarity_search_with_score_by_vector(vector, k=3) == scored
    assert store.similarity_search_by_vector(vector, k=3) == [document for document, _ in scored]
    relevant = store.similarity_search_with_relevance_scores(query, k=3)
    assert relevant == [(document, max(0.0, score)) for document, score in scored]
    threshold = scores[1]
    passed = [document for document, _ in scored[:2]]
    options: Any = {"k": 3, "score_threshold": threshold}
    assert store.similarity_search(query, **options) == passed
    assert [document for document, _ in store.similarity_search_with_relevance_scores(query, **options)] == passed
    assert store.as_retriever(search_type="similarity_score_threshold", search_kwargs=options).invoke(query) == passed
    assert store.search(query, "similarity_score_threshold", **options) == passed


def test_thoughts_are_returned(store: T1QdrantVectorStore) -> None:
    found, thoughts = store.similarity_search_with_thought("capital", k=2, think=True, budget=3)
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
    assert [(thought.text, thought.stop) for thought in thoughts] == [("lat", "budget")]
    assert store.similarity_search_with_thought("capital") == (store.similarity_search_with_score("capital"), ())


async def test_asynchronous_methods_return_the_same(store: T1QdrantVectorStore) -> None:
    query = "capital of France"
    vector = await store.embeddings.aembed_query(query)
    assert await store.asimilarity_search(query) == store.similarity_search(query)
    assert await store.asimilarity_search_with_score(query) == store.similarity_search_with_score(query)
    assert await store.asimilarity_search_with_thought(query) == store.similarity_search_with_thought(query)
    assert await store.asimilarity_search_with_relevance_scores(query) == store.similarity_search_with_relevance_scores(
        query
    )
    assert await store.asimilarity_search_by_vector(vector) == store.similarity_search_by_vector(vector)
    assert await store.amax_marginal_relevance_search(query) == store.max_marginal_relevance_search(query)
    assert await store.aget_by_ids(["wheat"]) == [DOCUMENTS[2]]
    assert await store.adelete(["wheat"])
    assert count(store) == 2


@pytest.fixture
def crowded(empty: T1QdrantVectorStore) -> T1QdrantVectorStore:
    """Three documents with nearly the same text, and another one."""
    texts = ["wheat and barley of the north", "wheat and barley of the nort", "wheat and barley of the nor", "wheat"]
    empty.add_texts(texts, ids=["a", "b", "c", "other"])
    return empty


def test_maximal_marginal_relevance(crowded: T1QdrantVectorStore) -> None:
    query = "wheat and barley of the north"
    plain = ids(crowded.similarity_search(query, k=2))
    assert plain == ["a", "b"]
    assert ids(crowded.similarity_search(query, k=2, diversity=1.0)) == ["a", "other"]
    assert ids(crowded.max_marginal_relevance_search(query, k=2, lambda_mult=1.0)) == plain
    assert ids(crowded.max_marginal_relevance_search(query, k=2, lambda_mult=0.0)) == ["a", "other"]
    assert ids(crowded.max_marginal_relevance_search(query, k=2, lambda_mult=0.0, fetch_k=3)) == ["a", "c"]
    vector = crowded.embeddings.embed_query(query)
    assert ids(crowded.max_marginal_relevance_search_by_vector(vector, k=2, lambda_mult=0.0)) == ["a", "other"]
    retriever = crowded.as_retriever(search_type="mmr", search_kwargs={"k": 2, "lambda_mult": 0.0})
    assert ids(retriever.invoke(query)) == ["a", "other"]
    for search in (crowded.max_marginal_relevance_search, crowded.as_retriever(search_type="mmr").invoke):
        with pytest.raises(ValueError, match=r"lambda_mult must be less than or equal to 1, got 1.5"):
            search(query, lambda_mult=1.5)
        with pytest.raises(TypeError, match="fetch_k must be a valid integer, got 'x'"):
            search(query, fetch_k="x")  # type: ignore[arg-type]


def test_maximal_marginal_relevance_in_an_empty_store(empty: T1QdrantVectorStore) -> None:
    assert empty.max_marginal_relevance_search("anything") == []


@pytest.mark.parametrize(
    "filter",
    [
        {"country": "France", "year": {"gte": 2000}},
        models.Filter(
            must=[
                models.FieldCondition(key="metadata.country", match=models.MatchValue(value="France")),
                models.FieldCondition(key="metadata.year", range=models.Range(gte=2000)),
            ]
        ),
    ],
    ids=["dict", "Filter"],
)
def test_filters(store: T1QdrantVectorStore, filter: Any) -> None:
    assert ids(store.similarity_search("capital", filter=filter)) == ["wheat"]
    assert ids(store.max_marginal_relevance_search("capital", filter=filter)) == ["wheat"]
    assert ids(store.as_retriever(search_kwargs={"filter": filter}).invoke("capital")) == ["wheat"]
    assert store.delete(filter=filter)
    assert count(store) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k must be greater than or equal to 1, got 0"),
        ({"k": -1}, "k must be greater than or equal to 1, got -1"),
        ({"offset": -1}, "offset must be greater than or equal to 0, got -1"),
        ({"score_threshold": 2.0}, "score_threshold must be less than or equal to 1, got 2.0"),
        ({"filter": {"year": {"about": 2000}}}, "known operators are"),
    ],
)
@pytest.mark.parametrize("search", ["similarity_search", "max_marginal_relevance_search"])
def test_invalid_options_are_refused_before_the_model_runs(
    store: T1QdrantVectorStore, options: dict[str, Any], message: str, search: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.t1.embedder, "embed_query", lambda *_, **__: pytest.fail("the model ran"))
    with pytest.raises(ValueError, match=message):
        getattr(store, search)("capital", **options)


async def test_misspelt_options_are_refused(store: T1QdrantVectorStore) -> None:
    message = r"unknown option 'score_treshold'; did you mean 'score_threshold'\? The options are .*k, offset"
    with pytest.raises(TypeError, match=message):
        store.similarity_search("capital", score_treshold=0.5)
    with pytest.raises(TypeError, match=message):
        await store.asimilarity_search("capital", score_treshold=0.5)
    with pytest.raises(TypeError, match=r"unknown option 'limit'.* The options are candidates, .*k, offset"):
        store.similarity_search_by_vector([1.0] * 64, limit=3)
    with pytest.raises(TypeError, match="bach_size"):
        store.add_texts(["a"], bach_size=3)  # type: ignore[call-arg]


async def test_qdrants_own_search_parameters_are_passed_on(store: T1QdrantVectorStore) -> None:
    options: Any = {
        "search_params": models.SearchParams(exact=True, hnsw_ef=64),
        "consistency": models.ReadConsistencyType.ALL,
    }
    query = "capital of France"
    expected = store.similarity_search(query)
    assert store.similarity_search(query, 4, None, **options) == expected
    assert await store.asimilarity_search(query, search_params={"exact": True}) == expected
    assert store.max_marginal_relevance_search(query, k=2, **options) == store.max_marginal_relevance_search(query, k=2)


def test_explanations_are_in_the_metadata(store: T1QdrantVectorStore) -> None:
    [plain] = store.similarity_search("capital", k=1)
    [found] = store.similarity_search("capital", k=1, explain=True)
    assert "t1_explanation" not in plain.metadata
    explanation = found.metadata["t1_explanation"]
    assert json.loads(json.dumps(explanation)) == explanation
    assert {"score_without_thinking", "rank_without_thinking", "sentences", "passage"} == explanation.keys()
    [retrieved] = store.as_retriever(k=1).invoke("capital", explain=True)
    assert retrieved.metadata["t1_explanation"] == explanation
