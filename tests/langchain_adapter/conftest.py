"""Stores on every engine that is present; no test opens a socket unless it says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from langchain_core.documents import Document
from pytest_socket import disable_socket, enable_socket
from t1_vectorstore.langchain.options import Place

from t1_vectorstore import T1Embedder
from t1_vectorstore.langchain import T1Embeddings, T1QdrantVectorStore
from tests.collection.conftest import admin, fresh_name, server_url  # noqa: F401 - fixtures

DOCUMENTS = [
    Document("Oslo is the capital of Norway.", id="norway", metadata={"country": "Norway", "year": 2001}),
    Document("Paris is the capital of France.", id="france", metadata={"country": "France", "year": 1999}),
    Document("Wheat grows in the fields of France.", id="wheat", metadata={"country": "France", "year": 2010}),
]


@pytest.fixture(autouse=True)
def _offline(request: pytest.FixtureRequest) -> Iterator[None]:
    if any(request.node.get_closest_marker(name) for name in ("server", "enable_socket")):
        yield
        return
    disable_socket(allow_unix_socket=True)
    yield
    enable_socket()


@pytest.fixture(params=["embedded", "memory", pytest.param("server", marks=pytest.mark.server)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Somewhere for a new collection, on each engine."""
    if request.param == "embedded":
        return Place(location=tmp_path / "index")
    if request.param == "memory":
        return Place(location=":memory:")
    return Place(url=request.getfixturevalue("server_url"), collection_name=request.getfixturevalue("fresh_name"))


@pytest.fixture
def embeddings() -> T1Embeddings:
    """The deterministic model; it thinks only when asked, so that equal words mean near vectors."""
    return T1Embeddings.from_embedder(T1Embedder.fake(), think=False)


@pytest.fixture
def empty(place: Place, embeddings: T1Embeddings) -> Iterator[T1QdrantVectorStore]:
    """An empty store on each engine."""
    with T1QdrantVectorStore.open(embeddings, **place) as store:
        yield store


@pytest.fixture
def store(empty: T1QdrantVectorStore) -> T1QdrantVectorStore:
    """Three documents on each engine."""
    empty.add_documents(DOCUMENTS)
    return empty


def ids(documents: list[Document]) -> list[str | None]:
    """Those of the documents, in order."""
    return [document.id for document in documents]


def count(store: T1QdrantVectorStore) -> int:
    """How many documents a store holds."""
    return store.t1.count()
