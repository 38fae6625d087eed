"""Collections of langchain-qdrant and llama-index-vector-stores-qdrant: dense, hybrid, and from the command line."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_qdrant import QdrantVectorStore, RetrievalMode, SparseEmbeddings, SparseVector
from qdrant_client import QdrantClient
from typer.testing import CliRunner

from t1_vectorstore.cli import app
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.errors import CollectionMismatch
from t1_vectorstore.maintenance.reindex import reindex
from t1_vectorstore.vectorstore import T1VectorStore

TEXTS = ["Oslo is the capital of Norway.", "Paris is the capital of France.", "Wheat grows in the fields."]
EMBEDDER = T1Embedder.fake(16)


class Dense(Embeddings):
    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return EMBEDDER.embed_documents(texts).vectors.tolist()  # type: ignore[no-any-return]

    def embed_query(self, text: str) -> list[float]:
        return EMBEDDER.embed_query(text).vector.tolist()  # type: ignore[no-any-return]


class Letters(SparseEmbeddings):
    """An encoder that is not BM25: the number of each letter."""

    def embed_documents(self, texts: list[str]) -> list[SparseVector]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> SparseVector:
        letters = sorted({letter for letter in text.lower() if letter.isalpha()})
        return SparseVector(indices=list(map(ord, letters)), values=[float(text.lower().count(x)) for x in letters])


@pytest.fixture
def client() -> Iterator[QdrantClient]:
    made = QdrantClient(":memory:")
    yield made
    made.close()


def stock_hybrid(client: QdrantClient) -> QdrantVectorStore:
    """langchain-qdrant's hybrid store, created if it does not exist, in the way of its README."""
    from qdrant_client import models

    if not client.collection_exists("theirs"):
        client.create_collection(
            "theirs",
            vectors_config={"dense": models.VectorParams(size=16, distance=models.Distance.COSINE)},
            sparse_vectors_config={"sparse": models.SparseVectorParams()},
        )
    return QdrantVectorStore(
        client,
        "theirs",
        Dense(),
        retrieval_mode=RetrievalMode.HYBRID,
        sparse_embedding=Letters(),
        vector_name="dense",
        sparse_vector_name="sparse",
    )


def open_theirs(client: QdrantClient, **options: Any) -> T1VectorStore:
    return T1VectorStore.open(client, EMBEDDER, name="theirs", adopt=True, **options)


def test_a_hybrid_collection_of_langchain_is_read_and_written_with_its_encoder(client: QdrantClient) -> None:
    theirs = stock_hybrid(client)
    theirs.add_documents([Document(text, metadata={"n": n}) for n, text in enumerate(TEXTS)])
    with open_theirs(client, sparse_encoder=Letters()) as ours:
        assert ours.collection.hybrid
        assert ours.search("zzz wwww", think=False, vector_weight=0, thought_terms=False).hits[0].text == TEXTS[2]
        query = "the capital of Norway"
        expected = {document.page_content for document in theirs.similarity_search(query, k=2)}
        assert {hit.text for hit in ours.search(query, think=False, limit=2).hits} == expected
        ours.add([_document("Quinoa grows in Peru.", "new")])
    [found] = theirs.similarity_search("Quinoa grows in Peru.", k=1)
    assert found.page_content == "Quinoa grows in Peru."
    points, _ = client.scroll("theirs", with_vectors=True, limit=10)
    assert all(set(point.vector) == {"dense", "sparse"} for point in points)  # type: ignore[arg-type]


def test_without_the_encoder_only_the_dense_vectors_are_used_and_writing_warns(client: QdrantClient) -> None:
    stock_hybrid(client).add_documents([Document(text) for text in TEXTS])
    with open_theirs(client) as ours:
        assert not ours.collection.hybrid
        assert len(ours.search("capital", think=False).hits) == 3
        with pytest.raises(ValueError, match=r"sparse vectors of another encoder.*sparse_encoder= \('bm25'"):
            ours.search("capital", think=False, hybrid=True)
        with pytest.warns(UserWarning, match=r"'sparse', whose encoder was not given.*will not find it"):
            ours.add([_document("new", "new")])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            ours.add([_document("newer", "newer")])  # the warning comes once
    with pytest.raises(CollectionMismatch, match="sparse vectors of another encoder"):
        open_theirs(client, hybrid=True)


def test_an_own_collection_with_another_encoder_never_mixes_it_with_bm25(tmp_path: Path) -> None:
    options: dict[str, Any] = {"hybrid": True, "sparse_encoder": Letters()}
    with T1VectorStore.open(tmp_path / "index", EMBEDDER, **options) as store:
        store.add([_document(text, str(n)) for n, text in enumerate(TEXTS)])
        assert store.search("wwww", think=False, vector_weight=0, thought_terms=False).hits[0].text == TEXTS[2]
    with pytest.raises(CollectionMismatch, match="words of another sparse_encoder than 'bm25'"):
        T1VectorStore.open(tmp_path / "index", EMBEDDER, sparse_encoder="bm25")
    with T1VectorStore.open(tmp_path / "index", EMBEDDER) as store:
        assert not store.collection.hybrid
        assert [hit.text for hit in store.search(TEXTS[0], think=False, limit=1).hits] == [TEXTS[0]]
        with pytest.raises(ValueError, match="encoded by another package; give hybrid=True"):
            reindex(store.collection, T1Embedder.fake(24))
        assert reindex(store.collection, EMBEDDER, hybrid=True).moved
    with T1VectorStore.open(tmp_path / "index", EMBEDDER, sparse_encoder="bm25") as store:
        assert store.search("oslo", think=False, vector_weight=0).hits[0].text == TEXTS[0]
    T1VectorStore.open(tmp_path / "bm25", EMBEDDER, hybrid=True).close()
    with pytest.raises(CollectionMismatch, match="stores BM25 terms, which another sparse_encoder cannot"):
        T1VectorStore.open(tmp_path / "bm25", EMBEDDER, sparse_encoder=Letters())


@pytest.mark.parametrize("wrong", ["splade", 7, object()])
def test_what_cannot_encode_is_refused(tmp_path: Path, wrong: object) -> None:
    with pytest.raises(ValueError, match=r"sparse_encoder must be 'bm25', or have the methods embed_documents and"):
        T1VectorStore.open(tmp_path / "index", EMBEDDER, hybrid=True, sparse_encoder=wrong)


@pytest.fixture
def llama(client: QdrantClient) -> Any:
    from llama_index.core.schema import TextNode

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from llama_index.vector_stores.qdrant import QdrantVectorStore as LlamaStore

        def sparse(texts: list[str]) -> tuple[list[list[int]], list[list[float]]]:
            found = Letters().embed_documents(texts)
            return [each.indices for each in found], [each.values for each in found]

        vectors = EMBEDDER.embed_documents(TEXTS).vectors.tolist()
        nodes = [
            TextNode(text=text, embedding=vector, metadata={"n": n})
            for n, (text, vector) in enumerate(zip(TEXTS, vectors, strict=True))
        ]
        store = LlamaStore("theirs", client=client, enable_hybrid=True, sparse_doc_fn=sparse, sparse_query_fn=sparse)
        store.add(nodes)
    return store


def test_a_hybrid_collection_of_llama_index_is_read_and_written(client: QdrantClient, llama: Any) -> None:
    from llama_index.core.vector_stores.types import VectorStoreQuery

    with open_theirs(client, sparse_encoder=Letters()) as ours:
        assert (ours.collection.schema.vector_name, ours.collection.schema.sparse_vector_name) == (
            "text-dense",
            "text-sparse-new",
        )
        hits = ours.search(TEXTS[1], think=False, limit=1, filter={"n": {"gte": 1}}).hits
        assert [(hit.text, hit.metadata["n"]) for hit in hits] == [(TEXTS[1], 1)]
        assert ours.search("wwww", think=False, vector_weight=0, thought_terms=False).hits[0].text == TEXTS[2]
        ours.add([_document("Quinoa grows in Peru.", "new")])
    vector = EMBEDDER.embed_documents(["Quinoa grows in Peru."]).vectors[0].tolist()
    assert len(llama.query(VectorStoreQuery(vector, similarity_top_k=9)).ids) == 4


@pytest.mark.server
def test_the_command_line_searches_a_collection_of_another_package(server_url: str, fresh_name: str) -> None:
    place: Any = {"url": server_url, "collection_name": fresh_name, "check_compatibility": False}
    QdrantVectorStore.from_texts(TEXTS, _Mini(), **place).client.close()
    command = ["search", server_url, "capital of Norway", "--name", fresh_name, "--json"]
    refused = CliRunner().invoke(app, [*command, "--model", "t1-mini"])
    assert (refused.exit_code, "--adopt" in refused.stderr) == (1, True)
    unnamed = CliRunner().invoke(app, [*command, "--adopt"])
    assert (unnamed.exit_code, "--adopt needs --model" in unnamed.stderr) == (2, True)
    done = CliRunner().invoke(app, [*command, "--adopt", "--model", "t1-mini"])
    assert done.exit_code == 0, done.stderr
    assert {hit["text"] for hit in json.loads(done.stdout)["hits"]} == set(TEXTS)


@pytest.mark.server
def test_the_command_line_adds_to_a_collection_of_another_package(
    server_url: str, fresh_name: str, tmp_path: Path
) -> None:
    place: Any = {"url": server_url, "collection_name": fresh_name, "check_compatibility": False}
    QdrantVectorStore.from_texts(TEXTS, _Mini(), **place).client.close()
    (tmp_path / "peru.txt").write_text("Quinoa grows in Peru.")
    command = ["index", str(tmp_path), "--to", server_url, "--name", fresh_name, "--model", "t1-mini"]
    refused = CliRunner().invoke(app, command)
    assert (refused.exit_code, "give --adopt" in refused.stderr) == (1, True)
    absent = CliRunner().invoke(app, [*command, "--adopt", "--name", f"{fresh_name}-absent"])
    assert (absent.exit_code, f"{fresh_name}-absent" in absent.stderr) == (1, True)
    done = CliRunner().invoke(app, [*command, "--adopt"])
    assert done.exit_code == 0, done.stderr
    stock = QdrantVectorStore.from_existing_collection(embedding=_Mini(), **place)
    assert [found.page_content for found in stock.similarity_search("Quinoa grows in Peru.", k=1)] == [
        "Quinoa grows in Peru."
    ]
    stock.client.close()


class _Mini(Dense):
    """t1-mini as embeddings of the stock store."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return T1Embedder.load("t1-mini").embed_documents(texts).vectors.tolist()  # type: ignore[no-any-return]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


def _document(text: str, name: str) -> Any:
    from t1_vectorstore.types import Document as T1Document

    return T1Document(text, name)
