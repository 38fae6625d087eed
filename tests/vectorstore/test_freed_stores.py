"""``del store`` closes an index in a folder at once, as re-running the cell of a notebook expects."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document as LangChainDocument
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores.types import VectorStoreQuery

from t1_vectorstore import Document, T1Embedder, T1VectorStore
from t1_vectorstore import langchain as for_langchain
from t1_vectorstore import llama_index as for_llama_index
from t1_vectorstore.collection import Collection
from t1_vectorstore.engines.embedded.engine import EmbeddedEngine
from t1_vectorstore.errors import T1Error

EMBEDDER = T1Embedder.fake()
VECTOR = [1.0] * EMBEDDER.identity.dimension
DOCUMENTS = [Document("Oslo is the capital of Norway.", id="oslo", metadata={"year": 2000}), Document("x " * 3000)]


def open_store(path: Path) -> T1VectorStore:
    return T1VectorStore.open(path, EMBEDDER)


def use_store(store: T1VectorStore) -> None:
    store.add(DOCUMENTS)
    store.search("capital", filter={"year": {"gte": 1000}}, group=True)
    asyncio.run(store.asearch("capital"))
    next(iter(store.scroll(batch=1)))
    store.delete(["oslo"])
    store.collection.optimize()
    store.search("capital")


def use_store_with_errors(store: T1VectorStore) -> None:
    class Unreadable(Exception):
        pass

    def unreadable() -> Iterator[Document]:
        yield DOCUMENTS[0]
        raise Unreadable

    assert store.add([Document("", id="empty")]).failed == 1
    with contextlib.suppress(Unreadable):
        store.add(unreadable(), batch_chunks=1)
    store.embedder.embed_documents, real = broken_model, store.embedder.embed_documents  # type: ignore[method-assign]
    try:
        with contextlib.suppress(T1Error):
            store.add([Document("a text", id="other")])
    finally:
        store.embedder.embed_documents = real  # type: ignore[method-assign]
    for query, options in [("", {}), ("a query", {"filter": {"year": {"about": 1}}}), ("a query", {"hybrid": True})]:
        with contextlib.suppress(ValueError):
            store.search(query, **options)  # type: ignore[arg-type]


def broken_model(*_: object, **__: object) -> Any:
    raise T1Error("the model is broken")


def open_collection(path: Path) -> Collection:
    return Collection.open(path, identity=EMBEDDER.identity)


def use_collection(collection: Collection) -> None:
    with collection.bulk(), collection.loading(chunk_size=100, overlap=0):
        collection.search(VECTOR)
    with contextlib.suppress(ValueError):
        collection.upsert([])
        collection.search([1.0])


def open_for_langchain(path: Path) -> for_langchain.T1QdrantVectorStore:
    embeddings = for_langchain.T1Embeddings.from_embedder(EMBEDDER)
    documents = [LangChainDocument(page_content="Oslo is the capital of Norway.")]
    return for_langchain.T1QdrantVectorStore.from_documents(documents, embeddings, path=path)


def use_langchain(store: for_langchain.T1QdrantVectorStore) -> None:
    store.similarity_search("capital")
    store.max_marginal_relevance_search("capital")
    asyncio.run(store.asimilarity_search("capital"))
    store.as_retriever().invoke("capital")
    with contextlib.suppress(ValueError):
        store.add_texts(["one", "two"], ids=["same", "same"])


def open_for_llama_index(path: Path) -> for_llama_index.T1QdrantVectorStore:
    return for_llama_index.T1QdrantVectorStore.open(path, EMBEDDER)


def use_llama_index(store: for_llama_index.T1QdrantVectorStore) -> None:
    store.add([TextNode(text="Oslo is the capital of Norway.", embedding=VECTOR)])
    store.query(VectorStoreQuery(VECTOR))
    asyncio.run(store.aquery(VectorStoreQuery(VECTOR)))
    store.get_nodes()


@pytest.fixture
def no_collection_of_garbage() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collection_of_garbage")
@pytest.mark.parametrize(
    ("open_it", "use"),
    [
        (open_store, use_store),
        (open_store, use_store_with_errors),
        (open_collection, use_collection),
        (open_for_langchain, use_langchain),
        (open_for_llama_index, use_llama_index),
    ],
)
def test_deleting_the_last_reference_closes_the_folder(
    tmp_path: Path, open_it: Callable[[Path], Any], use: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    engines: list[weakref.ref[EmbeddedEngine]] = []

    class Watched(EmbeddedEngine):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            engines.append(weakref.ref(self))

    monkeypatch.setattr("t1_vectorstore.engines.embedded.engine.EmbeddedEngine", Watched)
    store = open_it(tmp_path / "index")
    use(store)
    assert engines[0]() is not None
    del store
    assert engines[0]() is None
    open_it(tmp_path / "index").close()
