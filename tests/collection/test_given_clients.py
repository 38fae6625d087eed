"""A client of the caller as the location: it stays the caller's, and several collections share it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import AsyncQdrantClient, QdrantClient, models

from t1_vectorstore.collection import Collection
from t1_vectorstore.engines.client import client_location
from t1_vectorstore.errors import CollectionMismatch, CollectionNotFound, StoreError
from t1_vectorstore.network import with_port
from t1_vectorstore.options import Storage
from tests.collection.points import MODEL, OTHER, points, vector


@pytest.fixture(
    params=[
        "memory",
        "path",
        pytest.param("rest", marks=pytest.mark.server),
        pytest.param("grpc", marks=pytest.mark.server),
    ]
)
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[QdrantClient]:
    """A client of each mode."""
    if request.param == "memory":
        made = QdrantClient(":memory:")
    elif request.param == "path":
        made = QdrantClient(path=str(tmp_path / "local"))
    else:
        url = request.getfixturevalue("server_url")
        port = int(url.rsplit(":", 1)[1])
        grpc = {"prefer_grpc": request.param == "grpc", "grpc_port": port + 1}
        made = QdrantClient(url=url, check_compatibility=False, **grpc)
    yield made
    made.close()


@pytest.fixture
def name(client: QdrantClient) -> Iterator[str]:
    """A collection's name; the collection is deleted afterwards."""
    yield "t1-test-given"
    client.delete_collection("t1-test-given")


def test_several_collections_over_one_client_see_the_same_points(client: QdrantClient, name: str) -> None:
    with Collection.open(client, name=name, identity=MODEL, hybrid=True) as first:
        assert first.upsert(points(5)) == 5
        with Collection.open(client, name=name, identity=MODEL) as second:
            assert second.uid == first.uid
            assert [hit.id for hit in second.search(vector(3), limit=1)] == ["doc 3"]
            assert second.search(vector(3), text="doc 2", vector_weight=0)[0].score is not None
            assert second.delete(["doc 3"]) == 1
        assert first.count() == 4  # closing the second one closed nothing else
        assert [hit.id for hit in asyncio.run(first.asearch(vector(2), limit=1))] == ["doc 2"]
    assert client.count(name).count == 4
    with pytest.raises(StoreError, match="closed"):
        first.count()


def test_models_and_options_are_compared(client: QdrantClient, name: str) -> None:
    with pytest.raises(CollectionNotFound, match=name):
        Collection.open(client, name=name)
    with pytest.raises(CollectionNotFound, match=name):
        Collection.open(client, name=name, identity=MODEL, create=False)
    Collection.open(client, name=name, identity=MODEL).close()
    with pytest.raises(CollectionMismatch, match="other-model"):
        Collection.open(client, name=name, identity=OTHER)
    with pytest.raises(CollectionMismatch, match=r"hybrid=True|opened with True"):
        Collection.open(client, name=name, identity=MODEL, hybrid=True)
    assert client.collection_exists(name)


def test_the_latest_load_is_recorded(client: QdrantClient, name: str) -> None:
    with Collection.open(client, name=name, identity=MODEL) as opened, opened.loading(chunk_size=100, overlap=10):
        opened.upsert(points(2))
    with Collection.open(client, name=name) as collection:
        assert collection.latest_load is not None
        assert (collection.latest_load.chunk_size, collection.latest_load.finished) == (100, True)


def test_a_client_of_a_folder_keeps_its_points(tmp_path: Path) -> None:
    client = QdrantClient(path=str(tmp_path / "local"))
    with Collection.open(client, identity=MODEL) as collection:
        collection.upsert(points(3))
        assert collection.location == str(tmp_path / "local")
    client.close()
    client = QdrantClient(path=str(tmp_path / "local"))
    with Collection.open(client, identity=MODEL, create=False) as collection:
        assert collection.count() == 3
    client.close()


def test_an_alias_is_resolved() -> None:
    client = QdrantClient(":memory:")
    with Collection.open(client, name="real", identity=MODEL) as collection:
        collection.upsert(points(3))
    create = models.CreateAlias(collection_name="real", alias_name="alias")
    client.update_collection_aliases([models.CreateAliasOperation(create_alias=create)])
    with Collection.open(client, name="alias", identity=MODEL) as collection:
        assert collection.count() == 3


def test_a_client_that_is_closed_or_has_lost_the_collection_is_a_store_error() -> None:
    client = QdrantClient(":memory:")
    collection = Collection.open(client, identity=MODEL)
    client.delete_collection("t1")
    with pytest.raises(StoreError, match="t1 not found"):
        collection.count()
    client.close()
    with pytest.raises(StoreError, match="closed"):
        collection.count()
    collection.close()


def test_collections_over_one_client_in_memory_can_be_used_from_several_threads() -> None:
    client = QdrantClient(":memory:")
    collections = [Collection.open(client, name=f"c{number % 2}", identity=MODEL) for number in range(4)]
    errors: list[Exception] = []

    def work(number: int) -> None:
        try:
            for first in range(0, 100, 10):
                collections[number].upsert(points(10, first + 100 * number))
                assert collections[number].search(vector(0))
        except Exception as error:  # noqa: BLE001 - reported below
            errors.append(error)

    threads = [threading.Thread(target=work, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert [client.count(name).count for name in ("c0", "c1")] == [200, 200]


def test_what_is_not_a_client_is_refused() -> None:
    for wrong in (AsyncQdrantClient(":memory:"), 7, None):
        with pytest.raises(TypeError, match="QdrantClient, got"):
            Collection.open(wrong, identity=MODEL)  # type: ignore[arg-type]
    options: list[dict[str, Any]] = [{"shard_key": "x"}, {"storage": Storage(on_disk=True)}]
    for option in options:
        with pytest.raises(ValueError, match=next(iter(option))):
            Collection.open(QdrantClient(":memory:"), identity=MODEL, **option)


@pytest.mark.parametrize(
    ("given", "location"),
    [
        ({"url": "http://localhost"}, "http://localhost:6333"),
        ({"url": "http://localhost", "port": 7000}, "http://localhost:7000"),
        ({"url": "http://localhost:8000/prefix", "port": 7000}, "http://localhost:8000/prefix"),
        ({"host": "localhost", "port": 7000}, "http://localhost:7000"),
        ({"location": ":memory:"}, ":memory:"),
    ],
)
def test_a_clients_location_has_its_port(given: dict[str, Any], location: str) -> None:
    assert client_location(QdrantClient(**given, check_compatibility=False)) == location


def test_a_url_without_a_port_has_the_same_one_everywhere() -> None:
    urls = ("http://host", "http://host:80", "https://host/prefix", "http://[::1]/")
    assert [*map(with_port, urls)] == [
        "http://host:6333",
        "http://host:80",
        "https://host:443/prefix",
        "http://[::1]:6333/",
    ]
