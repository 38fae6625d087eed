"""Fixtures: collections on every engine, and servers."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import pytest
from qdrant_client import QdrantClient, models

from t1_vectorstore.collection import Collection
from t1_vectorstore.options import Retry
from tests.collection.points import MODEL, points
from tests.collection.qdrant_binary import cached
from tests.collection.qdrant_container import no_container, running_container
from tests.collection.qdrant_server import running_server
from tests.collection.stub_server import Stub, stub_server

CLOSED_PORT = 1  # nothing listens there, so that REST is used instead of gRPC


@dataclass
class Place:
    """A location for a collection, and the collections opened there."""

    engine: str
    location: str
    options: dict[str, Any] = field(default_factory=dict)
    opened: list[Collection] = field(default_factory=list)

    def open(self, **options: Any) -> Collection:
        collection = Collection.open(self.location, **{"identity": MODEL, **self.options, **options})
        self.opened.append(collection)
        return collection

    def close(self) -> None:
        while self.opened:
            self.opened.pop().close()


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """A closed embedded index of five points."""
    path = tmp_path / "index"
    with Collection.open(path, identity=MODEL) as collection:
        collection.upsert(points(5))
    return path


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """The URL of a server: the environment's, or one in a container, or one that runs from the pinned binary."""
    if url := os.environ.get("T1_TEST_QDRANT_URL"):
        yield url
        return
    if (obstacle := no_container()) is None:
        with running_container() as url:
            yield url
        return
    if (binary := cached()) is None:
        absent(f"no Qdrant server: {obstacle}; set T1_TEST_QDRANT_URL, or run python -m tests.collection.qdrant_binary")
    with running_server(binary) as server:
        yield server.url


def absent(reason: str) -> NoReturn:
    """Skip a test without a server, or fail if a server is required."""
    if os.environ.get("T1_REQUIRE_SERVER") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def admin(server_url: str) -> Iterator[QdrantClient]:
    """A client of the server."""
    client = QdrantClient(url=server_url, check_compatibility=False)
    yield client
    client.close()


@pytest.fixture
def fresh_name(request: pytest.FixtureRequest, server_url: str, admin: QdrantClient) -> Iterator[str]:
    """An unused collection name; a collection that is created with it is deleted."""
    name = f"t1-test-{uuid.uuid4().hex}"
    yield name
    admin.delete_collection(name)


@pytest.fixture(
    params=[
        "embedded",
        pytest.param("memory", marks=pytest.mark.thorough),
        pytest.param("grpc", marks=pytest.mark.server),
        pytest.param("rest", marks=pytest.mark.server),
    ]
)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A location for a new collection, on each engine."""
    made: Place
    if request.param == "embedded":
        made = Place("embedded", str(tmp_path / "index"))
    elif request.param == "memory":
        made = Place("memory", ":memory:")
    else:
        options = {"name": request.getfixturevalue("fresh_name")}
        if request.param == "rest":
            options["grpc_port"] = CLOSED_PORT
        made = Place("server", request.getfixturevalue("server_url"), options)
    yield made
    made.close()


@pytest.fixture(scope="session")
def shared(server_url: str, admin: QdrantClient) -> Iterator[dict[str, Collection]]:
    """One collection for each protocol of the server; creating one takes longer than most tests."""
    names = {protocol: f"t1-test-{protocol}-{uuid.uuid4().hex}" for protocol in ("grpc", "rest")}
    ports = {"grpc": None, "rest": CLOSED_PORT}
    opened = {
        protocol: Collection.open(server_url, name=name, identity=MODEL, grpc_port=ports[protocol])
        for protocol, name in names.items()
    }
    yield opened
    for protocol, collection in opened.items():
        collection.close()
        admin.delete_collection(names[protocol])


@pytest.fixture
def collection(request: pytest.FixtureRequest, place: Place) -> Collection:
    """An empty collection, on each engine."""
    if place.engine != "server":
        return place.open()
    shared: dict[str, Collection] = request.getfixturevalue("shared")
    empty = shared["rest" if "grpc_port" in place.options else "grpc"]
    request.getfixturevalue("admin").delete(empty.name, models.Filter(), wait=True)
    return empty


@pytest.fixture
def stub() -> Iterator[Stub]:
    """A server with prepared answers."""
    with stub_server() as running:
        yield running


@pytest.fixture
def waits() -> list[float]:
    """The requested waits, which take no time."""
    return []


@pytest.fixture
def retry(waits: list[float]) -> Retry:
    """Retries without waits."""
    return Retry(budget=1000.0, attempts=5, sleep=waits.append)
