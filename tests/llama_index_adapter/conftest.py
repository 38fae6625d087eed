"""Stores on every engine. Tests cannot open sockets unless they are marked for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from llama_index.core.instrumentation import root_dispatcher  # type: ignore[attr-defined]
from llama_index_instrumentation.event_handlers import BaseEventHandler
from pydantic import Field
from pytest_socket import disable_socket, enable_socket

from t1_vectorstore import T1Embedder
from t1_vectorstore.backends.fake import FakeBackend
from t1_vectorstore.llama_index import T1Embedding, T1QdrantVectorStore, T1ThoughtEvent
from t1_vectorstore.types import Trajectory, Vectors
from tests.collection.conftest import Place, admin, fresh_name, place, server_url  # noqa: F401 - fixtures


@pytest.fixture(autouse=True)
def _offline(request: pytest.FixtureRequest) -> Iterator[None]:
    if any(request.node.get_closest_marker(name) for name in ("server", "enable_socket")):
        yield
        return
    disable_socket(allow_unix_socket=True)
    yield
    enable_socket()


@pytest.fixture
def embedding() -> T1Embedding:
    """The fake model."""
    return T1Embedding.from_embedder(T1Embedder.fake())


@pytest.fixture
def store(place: Place, embedding: T1Embedding) -> T1QdrantVectorStore:  # noqa: F811
    """An empty store on each engine."""
    return T1QdrantVectorStore(place.open(identity=embedding.identity))


@pytest.fixture
def quick(embedding: T1Embedding) -> Iterator[T1QdrantVectorStore]:
    """An empty store in memory, for tests that do not depend on the engine."""
    store = T1QdrantVectorStore.open(":memory:", embedding)
    yield store
    store.close()


class Thoughts(BaseEventHandler):
    """Collects the events of thoughts."""

    seen: list[T1ThoughtEvent] = Field(default_factory=list)

    def handle(self, event: Any, **_: Any) -> None:
        if isinstance(event, T1ThoughtEvent):
            self.seen.append(event)


@pytest.fixture
def thoughts() -> Iterator[list[T1ThoughtEvent]]:
    """The thoughts that are dispatched during the test."""
    handler = Thoughts()
    before = root_dispatcher.event_handlers
    root_dispatcher.event_handlers = [*before, handler]
    yield handler.seen
    root_dispatcher.event_handlers = before


class SlowBackend(FakeBackend):
    """Sleeps in every call, to show whether the event loop is blocked."""

    def encode(self, prompts: Sequence[Sequence[int]], *, on_done: Callable[[int], None] | None = None) -> Vectors:
        time.sleep(0.5)
        return super().encode(prompts, on_done=on_done)

    def think(self, *arguments: Any, **options: Any) -> list[Trajectory]:
        time.sleep(0.5)
        return super().think(*arguments, **options)


@pytest.fixture
def slow() -> T1Embedding:
    """The fake model, slowed down."""
    embedder = T1Embedder.fake()
    embedder._backend = SlowBackend()
    return T1Embedding.from_embedder(embedder)
