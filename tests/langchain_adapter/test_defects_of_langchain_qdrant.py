"""This adapter has none of the defects of langchain-qdrant 1.1.0 after which the tests are named."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document
from qdrant_client import QdrantClient

from t1_vectorstore import T1Embedder
from t1_vectorstore.backends.fake import SPEC, FakeBackend, byte_tokenizer
from t1_vectorstore.collection import Collection
from t1_vectorstore.embedding.prompts import Prompter
from t1_vectorstore.errors import CollectionMismatch
from t1_vectorstore.langchain import T1Embeddings, T1QdrantVectorStore
from t1_vectorstore.options import Retry
from tests.collection.points import MODEL
from tests.collection.stub_server import described, stub_server
from tests.langchain_adapter.conftest import DOCUMENTS

TEXTS = [document.page_content for document in DOCUMENTS]


def test_a_generator_stores_nothing(empty: T1QdrantVectorStore) -> None:
    assert len(empty.add_texts(text for text in TEXTS)) == 3
    empty.add_documents(document for document in DOCUMENTS)
    assert empty.t1.count() == 6


def test_fewer_ids_than_texts_drop_the_rest(empty: T1QdrantVectorStore) -> None:
    with pytest.raises(ValueError, match="3 texts, but 1 ids"):
        empty.add_texts(TEXTS, ids=["only"])
    assert empty.t1.count() == 0


def test_mmr_lambda_inverted(empty: T1QdrantVectorStore) -> None:
    empty.add_texts(["wheat of the north", "wheat of the nort", "sugar"], ids=["best", "same", "other"])
    query = "wheat of the north"

    def chosen(lambda_mult: float) -> list[str | None]:
        return [each.id for each in empty.max_marginal_relevance_search(query, k=2, lambda_mult=lambda_mult)]

    assert chosen(1.0) == [each.id for each in empty.similarity_search(query, k=2)] == ["best", "same"]
    assert chosen(0.0) == ["best", "other"]


def test_random_ids_so_a_rerun_duplicates(empty: T1QdrantVectorStore) -> None:
    assert empty.add_texts(TEXTS) == empty.add_texts(TEXTS)
    assert empty.t1.count() == 3


def test_document_id_is_none(empty: T1QdrantVectorStore) -> None:
    ids = empty.add_texts(TEXTS)
    assert {each.id for each in empty.similarity_search("capital")} == set(ids)
    assert None not in ids


def test_ids_must_be_uuids(empty: T1QdrantVectorStore) -> None:
    ids = ["a", "docs/ä.md#2", "7", "not a uuid", "2f4e9d3a-9a4c-4d3e-8a55-0d8b8ed8a3a1"]
    assert empty.add_texts(ids, ids=ids) == ids
    assert [each.id for each in empty.get_by_ids(ids)] == ids


@pytest.mark.enable_socket
def test_no_retry() -> None:
    embedder = T1Embedder(Prompter(byte_tokenizer(), SPEC), FakeBackend(MODEL.dimension), MODEL)
    waits: list[float] = []
    with stub_server() as stub:
        stub.result(described())
        collection = Collection.open(stub.url, identity=MODEL, retry=Retry(attempts=5, sleep=waits.append))
        store = T1QdrantVectorStore(collection, T1Embeddings.from_embedder(embedder))
        stub.answers.clear()
        stub.error(503)
        stub.error(429)
        stub.result({"points": []})
        assert store.similarity_search("capital") == []
        assert len(waits) == 2
        store.close()


def test_partial_failure_returns_no_ids(empty: T1QdrantVectorStore) -> None:
    given = [Document("good", id="good"), Document("bad", id="bad", metadata={"x": b"x"}), Document("fine", id="fine")]
    with pytest.raises(ValueError, match="1 of 3 documents cannot be stored") as raised:
        empty.add_documents(document for document in given)
    assert raised.value.ids == ["good", "fine"]  # type: ignore[attr-defined]
    assert [each.id for each in empty.get_by_ids(["good", "bad", "fine"])] == ["good", "fine"]


@pytest.mark.server
def test_no_payload_indexes(server_url: str, fresh_name: str, admin: QdrantClient, embeddings: T1Embeddings) -> None:
    place: Any = {"url": server_url, "collection_name": fresh_name, "indexes": {"year": "integer"}, "tenant": "country"}
    with T1QdrantVectorStore.from_documents(DOCUMENTS, embeddings, **place):
        indexed = admin.get_collection(fresh_name).payload_schema
        assert {"metadata.year", "metadata.country"} <= set(indexed)
        assert indexed["metadata.year"].points == 3


@pytest.mark.parametrize("place", [pytest.param("server", marks=pytest.mark.server)], indirect=True)
async def test_async_is_a_thread(store: T1QdrantVectorStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the model runs in a thread; the server is awaited."""
    vector = await store.embeddings.aembed_query("Oslo is the capital of Norway.")
    threads: list[object] = []
    run = asyncio.BaseEventLoop.run_in_executor
    monkeypatch.setattr(asyncio.BaseEventLoop, "run_in_executor", lambda *given: threads.append(given) or run(*given))
    found = await asyncio.gather(*(store.asimilarity_search_by_vector(vector, k=1) for _ in range(20)))
    assert {each[0].id for each in found} == {"norway"}
    assert threads == []
    assert (await store.asimilarity_search("Oslo is the capital of Norway."))[0].id == "norway"
    assert len(threads) == 1


def test_hybrid_prefetch_limit_is_k(place: dict[str, Any], embeddings: T1Embeddings) -> None:
    """The second of both rankings is the first of their fusion, although only one document is wanted."""
    fillers = [f"filler {n}" for n in range(9)]
    texts = ["nearest of all", "nearly the nearest, and about llamas", "llamas llamas llamas", *fillers]
    options: Any = {**place, "hybrid": True}
    with T1QdrantVectorStore.from_texts(texts, embeddings, ids=texts, **options) as store:
        vectors = np.array(embeddings.embed_documents(texts))
        query, *_ = np.linalg.lstsq(vectors, np.array([1.0, 0.9, -1.0, *([0.5] * len(fillers))]))
        assert store.similarity_search_by_vector(query.tolist(), k=1)[0].id == texts[0]
        assert store.similarity_search_by_vector(query.tolist(), k=1, text="llamas")[0].id == texts[1]


def test_every_construction_and_mmr_call_embeds_dummy_text(place: dict[str, Any]) -> None:
    embedder = T1Embedder.fake()
    backend = embedder._backend
    assert isinstance(backend, FakeBackend)
    embeddings = T1Embeddings.from_embedder(embedder, think=False)
    with T1QdrantVectorStore.open(embeddings, **place) as store:
        store.as_retriever()
        assert backend.encoded == 0
        store.add_documents(DOCUMENTS)
        assert backend.encoded == 3
        store.max_marginal_relevance_search("capital")
        assert backend.encoded == 4


def test_no_model_identity_check(place: dict[str, Any], embeddings: T1Embeddings) -> None:
    with T1QdrantVectorStore.from_documents(DOCUMENTS, embeddings, **place) as store:
        prompter, identity = (
            Prompter(byte_tokenizer(), SPEC),
            replace(embeddings.embedder.identity, fingerprint="f" * 16),
        )
        retrained = T1Embedder(prompter, FakeBackend(64), identity)
        with pytest.raises(CollectionMismatch, match="f" * 16):
            T1QdrantVectorStore(store.t1.collection, T1Embeddings.from_embedder(retrained))


def test_score_threshold_means_two_different_things_on_two_paths(store: T1QdrantVectorStore) -> None:
    query = "capital of France"
    scores = [score for _, score in store.similarity_search_with_score(query)]
    for threshold in (*scores, (scores[0] + scores[1]) / 2):
        direct = store.similarity_search(query, score_threshold=threshold)
        relevant = store.similarity_search_with_relevance_scores(query, score_threshold=threshold)
        assert direct == [document for document, _ in relevant]
        assert len(direct) == sum(score >= threshold for score in scores)
