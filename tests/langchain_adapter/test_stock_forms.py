"""The constructor forms of langchain-qdrant, pasted with this package's names."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings
from qdrant_client import QdrantClient, models

from t1_vectorstore.collection import Collection
from t1_vectorstore.errors import CollectionMismatch, CollectionNotFound, StoreError
from t1_vectorstore.langchain import RetrievalMode, T1Embeddings, T1QdrantVectorStore
from tests.langchain_adapter.conftest import DOCUMENTS, count, ids

TEXTS = [document.page_content for document in DOCUMENTS]
UUID_ID = "2f4e9d3a-9a4c-4d3e-8a55-0d8b8ed8a3a1"


class FirstLetters:
    """A sparse encoder: one dimension for the first letter of each word."""

    def embed_documents(self, texts: list[str]) -> list[models.SparseVector]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> models.SparseVector:
        letters = sorted({ord(word[0]) for word in text.lower().split()})
        return models.SparseVector(indices=letters, values=[1.0] * len(letters))


@pytest.fixture
def client() -> QdrantClient:
    """A client with one empty collection, ``docs``."""
    made = QdrantClient(":memory:")
    made.create_collection("docs", models.VectorParams(size=64, distance=models.Distance.COSINE))
    return made


@pytest.mark.parametrize("positional", [True, False])
def test_the_example_of_the_stock_readme(client: QdrantClient, embeddings: T1Embeddings, positional: bool) -> None:
    if positional:
        store = T1QdrantVectorStore(client, "docs", embeddings)
    else:
        store = T1QdrantVectorStore(client=client, collection_name="docs", embedding=embeddings)
    given = [UUID_ID, 7, UUID(int=5)]
    assert store.add_documents(DOCUMENTS, ids=given) == given
    only_france = models.Filter(
        must=[models.FieldCondition(key="metadata.country", match=models.MatchValue(value="France"))]
    )
    found = store.similarity_search("Paris is the capital of France.", 1, only_france)
    assert found[0].metadata == {"country": "France", "year": 1999, "_id": 7, "_collection_name": "docs"}
    assert (store.client, store.collection_name) == (client, "docs")
    assert [point.id for point in client.scroll("docs")[0]] == [7, str(UUID(int=5)), UUID_ID]
    assert ids(store.get_by_ids([7, UUID_ID])) == ["7", UUID_ID]  # type: ignore[list-item]
    assert store.delete([7])
    store.close()
    assert client.count("docs").count == 2, "the client stays the caller's"


def test_found_documents_can_be_added_again_unchanged(client: QdrantClient, embeddings: T1Embeddings) -> None:
    store = T1QdrantVectorStore(client, "docs", embeddings)
    store.add_documents(DOCUMENTS)
    found = store.similarity_search("France", k=3)
    store.add_documents(found)
    assert sorted(found, key=lambda each: str(each.id)) == sorted(
        store.get_by_ids(["norway", "france", "wheat"]), key=lambda each: str(each.id)
    )
    clean = T1QdrantVectorStore(client, "docs", embeddings, id_in_metadata=False)
    assert clean.get_by_ids(["wheat"]) == [DOCUMENTS[2]]


def test_the_client_form_creates_nothing(client: QdrantClient, embeddings: T1Embeddings) -> None:
    with pytest.raises(CollectionNotFound, match="no collection 'other'"):
        T1QdrantVectorStore(client, "other", embeddings)
    with T1QdrantVectorStore.open(embeddings, client=client, collection_name="other") as made:
        assert count(made) == 0


async def test_other_embeddings_work_without_thoughts() -> None:
    embedding = DeterministicFakeEmbedding(size=12)
    store = await T1QdrantVectorStore.afrom_texts(TEXTS, embedding, location=":memory:", collection_name="docs")
    [(found, score)] = store.similarity_search_with_score(TEXTS[1], k=1)
    assert (found.page_content, score, found.metadata) == (TEXTS[1], 1.0, {"_id": found.id, "_collection_name": "docs"})
    vector = embedding.embed_query(TEXTS[1])
    assert await store.asimilarity_search_with_score_by_vector(vector, k=1) == [(found, score)]
    assert store.embeddings is embedding
    assert store.as_retriever(k=1).invoke(TEXTS[1]) == [found]
    with pytest.raises(TypeError, match="budget=3 needs T1Embeddings"):
        store.similarity_search("x", budget=3)


@pytest.mark.parametrize("mode", list(RetrievalMode))
def test_retrieval_modes_decide_what_is_stored_and_searched(mode: RetrievalMode) -> None:
    embedding = DeterministicFakeEmbedding(size=12)
    store = T1QdrantVectorStore.from_texts(
        TEXTS,
        embedding=embedding,
        location=":memory:",
        retrieval_mode=mode,
        sparse_embedding=FirstLetters(),
        vector_name="dense",
        sparse_vector_name="letters",
    )
    [point, *_], _ = store.client.scroll("t1", with_vectors=True)
    assert (
        set(point.vector)
        == {
            RetrievalMode.DENSE: {"dense"},
            RetrievalMode.SPARSE: {"letters"},
            RetrievalMode.HYBRID: {"dense", "letters"},
        }[mode]
    )
    scored = store.similarity_search_with_score("wheat grows", k=1)
    if mode is not RetrievalMode.DENSE:
        assert scored[0][0].page_content == TEXTS[2]
    if mode is RetrievalMode.SPARSE:
        assert scored[0][1] == 2.0, "a sparse score is that of the encoder's vectors, not a cosine"
        with pytest.raises(CollectionMismatch, match="does not contain a dense vector"):
            store.max_marginal_relevance_search("wheat")
        again = T1QdrantVectorStore(store.client, "t1", None, "sparse", sparse_embedding=FirstLetters())
        assert again.embeddings is None


def test_a_hybrid_collection_is_searched_by_words_alone_with_a_weight() -> None:
    embedding = DeterministicFakeEmbedding(size=12)
    words: Any = {"sparse_embedding": FirstLetters()}
    store = T1QdrantVectorStore.from_texts(TEXTS, embedding, location=":memory:", retrieval_mode="hybrid", **words)
    with pytest.raises(CollectionMismatch, match="search it with vector_weight=0"):
        T1QdrantVectorStore(store.client, "t1", embedding, "sparse", **words)
    assert store.similarity_search("wheat grows", k=1, vector_weight=0)[0].page_content == TEXTS[2]


def test_pages_of_a_search_by_words_alone_show_equal_texts_once() -> None:
    words: Any = {"sparse_embedding": FirstLetters()}
    names = [f"d{n}" for n in range(40)]
    store = T1QdrantVectorStore.from_texts(
        ["wheat grows"] * 40, None, ids=names, location=":memory:", retrieval_mode="sparse", **words
    )
    pages = [store.similarity_search("wheat", k=10, offset=offset) for offset in range(0, 50, 10)]
    assert sorted(str(found.id) for page in pages for found in page) == sorted(names)


def test_modes_without_an_encoder_use_the_own_words(embeddings: T1Embeddings) -> None:
    for mode in (RetrievalMode.SPARSE, RetrievalMode.HYBRID):
        store = T1QdrantVectorStore.from_texts(TEXTS, embeddings, location=":memory:", retrieval_mode=mode)
        assert store.similarity_search("Norway", k=1)[0].page_content == TEXTS[0]


@pytest.mark.server
def test_server_arguments_of_the_stock_store(server_url: str, fresh_name: str, embeddings: T1Embeddings) -> None:
    host, _, port = server_url.removeprefix("http://").partition(":")
    place: Any = {"collection_name": fresh_name, "prefer_grpc": True, "timeout": None, "check_compatibility": False}
    by_host: Any = {**place, "host": host, "port": int(port), "https": False}
    options: Any = {
        "vector_params": {"on_disk": True},
        "collection_create_options": {"on_disk_payload": False},
        "validate_embeddings": False,
        "batch_size": 2,
    }
    with T1QdrantVectorStore.from_texts(TEXTS, embeddings, **by_host, **options) as store:
        params = store.client.get_collection(fresh_name).config.params
        assert (params.vectors[""].on_disk, params.on_disk_payload) == (True, False)
    with T1QdrantVectorStore.from_existing_collection(fresh_name, embeddings, url=server_url) as store:
        assert count(store) == 3
    with T1QdrantVectorStore.construct_instance(
        embeddings, client_options={"url": server_url}, collection_name=fresh_name, force_recreate=True
    ) as store:
        assert count(store) == 0
        store.client.delete_collection(fresh_name)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"distance": models.Distance.EUCLID}, StoreError, "leave distance out"),
        ({"retrieval_mode": "sparse", "path": "FOLDER"}, ValueError, "for ':memory:' and servers"),
        ({"force_recreate": True, "path": "FOLDER"}, ValueError, "remove '.*' yourself"),
        ({"embedding": None}, ValueError, "embedding is required"),
        ({"location": ":memory:", "host": "localhost"}, ValueError, "exactly one of"),
        ({"colection_name": "x"}, TypeError, "did you mean 'collection_name'"),
    ],
    ids=["distance", "sparse folder", "recreated folder", "no embedding", "two places", "misspelt"],
)
def test_what_cannot_be_is_refused_with_a_remedy(
    options: dict[str, Any], error: type[Exception], message: str, tmp_path: Any, embeddings: Embeddings
) -> None:
    options = {name: str(tmp_path / "index") if value == "FOLDER" else value for name, value in options.items()}
    place = {} if options.keys() & {"path", "location"} else {"location": ":memory:"}
    with pytest.raises(error, match=message):
        T1QdrantVectorStore.from_texts(TEXTS, **{"embedding": embeddings, **place, **options})


def test_a_folder_has_no_client(tmp_path: Any, embeddings: T1Embeddings) -> None:
    store = T1QdrantVectorStore.from_documents([Document("a")], embeddings, path=tmp_path / "index")
    with store, pytest.raises(AttributeError, match="has no QdrantClient"):
        _ = store.client


def test_an_open_collection_is_searched_as_asked(tmp_path: Path) -> None:
    embedding = T1Embeddings(model="t1-mini")
    with Collection.open(tmp_path / "index", identity=embedding.embedder.identity, hybrid=True) as collection:
        store = T1QdrantVectorStore(collection, embedding, retrieval_mode="dense")
        store.add_texts(TEXTS)
        found = [document.page_content for document in store.similarity_search(TEXTS[0], think=False)]
        vector = embedding.embedder.embed_query(TEXTS[0], think=False).vector
        assert found == [hit.text for hit in collection.search(vector, limit=4)]
        assert store.retrieval_mode is RetrievalMode.DENSE
        with pytest.raises(TypeError, match="vector_name is an argument for a client"):
            T1QdrantVectorStore(collection, embedding, vector_name="other")
