"""A service in this process: on the bundled model, or on an instant one without a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from t1_vectorstore import Document, T1Embedder, T1VectorStore
from t1_vectorstore.server import ServiceOptions, create_app

DOCUMENTS = [
    Document("Berlin is the capital of Germany.", "berlin", {"country": "Germany", "year": 1990}),
    Document("Oslo is the capital of Norway.", "oslo", {"country": "Norway", "year": 1814}),
    Document("Lima is the capital of Peru.", "lima", {"country": "Peru", "year": 1821}),
]
URL = "http://localhost"
Serve = Callable[..., TestClient]


@pytest.fixture(scope="session")
def mini() -> T1Embedder:
    """The bundled model."""
    return T1Embedder.load(truncation="allow")


@pytest.fixture
def fake() -> T1Embedder:
    """An instant embedder, whose thought is the query backwards."""
    return T1Embedder.fake(16, truncation="allow")


@pytest.fixture
def store(fake: T1Embedder, tmp_path: Path) -> Iterator[T1VectorStore]:
    """An index folder with three documents."""
    with T1VectorStore.open(tmp_path / "index", fake) as opened:
        opened.add(DOCUMENTS)
        yield opened


@pytest.fixture
def serve(store: T1VectorStore) -> Iterator[Serve]:
    """Start a service with options, and return a client of it."""
    with ExitStack() as stack:

        def start(stores: dict[str, T1VectorStore] | None = None, **given: Any) -> TestClient:
            extra = {name: given.pop(name) for name in ("embedders", "tracer_provider") if name in given}
            app = create_app(
                {"capitals": store} if stores is None else stores, options=ServiceOptions(**given), **extra
            )
            return stack.enter_context(TestClient(app, base_url=URL))

        yield start


@pytest.fixture
def client(serve: Serve) -> TestClient:
    """A client of a service with default options."""
    return serve()
