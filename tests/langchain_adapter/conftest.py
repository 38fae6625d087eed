"""Stores on every engine. Tests cannot open sockets unless they are marked for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from pytest_socket import disable_socket, enable_socket

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
def place(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """Options that open a new collection, on each engine."""
    if request.param == "embedded":
        return {"location": tmp_path / "index"}
    if request.param == "memory":
        return {"location": ":memory:"}
    return {"url": request.getfixturevalue("server_url"), "collection_name": request.getfixturevalue("fresh_name")}


@pytest.fixture
def embeddings() -> T1Embeddings:
    """The fake model, without thinking by default, so that texts with equal words have near vectors."""
    return T1Embeddings.from_embedder(T1Embedder.fake(), think=False)


@pytest.fixture
def empty(place: dict[str, Any], embeddings: T1Embeddings) -> Iterator[T1QdrantVectorStore]:
    """An empty store on each engine."""
    with T1QdrantVectorStore.open(embeddings, **place) as store:
        yield store


@pytest.fixture
def store(empty: T1QdrantVectorStore) -> T1QdrantVectorStore:
    """Three documents on each engine."""
    empty.add_documents(DOCUMENTS)
    return empty


def ids(documents: list[Document]) -> list[str | None]:
    """Return the ids of documents, in order."""
    return [document.id for document in documents]


def count(store: T1QdrantVectorStore) -> int:
    """Return the number of documents in a store."""
    return store.t1.count()
