"""How many clients and calls it takes to open a server's collection and to search it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from qdrant_client import QdrantClient

from t1_vectorstore.collection import Collection
from t1_vectorstore.engines.server import connections
from t1_vectorstore.options import Retry
from tests.collection.conftest import CLOSED_PORT
from tests.collection.points import MODEL, points, vector
from tests.collection.stub_server import VERSION, Stub, described

ALIASES, COLLECTION = "GET /aliases", "GET /collections/t1"
KEYWORD = {"data_type": "keyword", "points": 0}
DONE = {"operation_id": 1, "status": "completed"}


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> list[QdrantClient]:
    """The clients that engines have created."""
    created: list[QdrantClient] = []

    class Counted(QdrantClient):
        def __init__(self, **settings: Any) -> None:
            created.append(self)
            super().__init__(**settings)

    monkeypatch.setattr(connections, "QdrantClient", Counted)
    return created


def complete(indexed: bool = True, **schema: Any) -> dict[str, Any]:
    """A collection with an index by document, as this version creates it."""
    plain = described()
    own = {**plain["config"]["metadata"]["t1"], "by_document": True, **schema}
    return {**described(metadata={"t1": own}), "payload_schema": {"t1.document_id": KEYWORD} if indexed else {}}


def opened(stub: Stub, retry: Retry) -> Collection:
    return Collection.open(stub.url, identity=MODEL, retry=retry, grpc_port=CLOSED_PORT)


def test_one_search_takes_three_calls(stub: Stub, retry: Retry, clients: list[QdrantClient]) -> None:
    stub.result({"aliases": []})
    stub.result(complete())
    stub.result({"points": []})
    with opened(stub, retry) as collection:
        assert stub.asked == [ALIASES, COLLECTION]
        collection.search(vector(1))
    assert stub.asked == [ALIASES, COLLECTION, "POST /collections/t1/points/query"]
    assert len(clients) == 1


def test_a_creation_reads_nothing_back(stub: Stub, retry: Retry) -> None:
    stub.result({"aliases": []})
    stub.error(404, "Not found")
    stub.answer(200, VERSION)
    stub.result(True)
    stub.result(DONE)
    opened(stub, retry).close()
    created = ["PUT /collections/t1", "PUT /collections/t1/index?wait=true"]
    assert stub.asked == [ALIASES, COLLECTION, "GET /", *created]


def test_after_an_interrupted_creation_the_missing_parts_are_created(stub: Stub, retry: Retry) -> None:
    storage = {"shard_keys": ["eu", "us"]}
    stub.result({"aliases": []})
    stub.result(complete(indexed=False, storage=storage))
    shard = {"shard_id": 0, "shard_key": "eu", "points_count": 0, "state": "Active"}
    stub.result({"peer_id": 1, "shard_count": 1, "local_shards": [shard], "remote_shards": [], "shard_transfers": []})
    stub.result(True)
    stub.result(DONE)
    opened(stub, retry).close()
    assert stub.asked[2:] == [
        "GET /collections/t1/cluster",
        "PUT /collections/t1/shards",  # only "us" is missing
        "PUT /collections/t1/index?wait=true",
    ]
    stub.answers.clear()
    stub.asked.clear()
    stub.result({"aliases": []})
    stub.result(complete(storage=storage))  # an index is created after the shards, so they are complete
    opened(stub, retry).close()
    assert stub.asked == [ALIASES, COLLECTION]


@pytest.mark.server
def test_the_grpc_client_is_opened_by_the_first_call_about_points(
    server_url: str, fresh_name: str, clients: list[QdrantClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Collection.open(server_url, name=fresh_name, identity=MODEL) as collection:
        collection.upsert(points(3))
    calls: list[str] = []
    send = httpx.Client.send

    def counted(client: httpx.Client, request: httpx.Request, **options: Any) -> httpx.Response:
        calls.append(f"{request.method} {request.url.path}")
        return send(client, request, **options)

    monkeypatch.setattr(httpx.Client, "send", counted)
    clients.clear()
    with Collection.open(server_url, name=fresh_name, identity=MODEL) as collection:
        assert len(clients) == 1
        assert len(collection.search(vector(1))) == 3
        assert collection.info().points == 3
    assert len(clients) == 2
    about_the_collection = f"GET /collections/{fresh_name}"
    assert calls == ["GET /aliases", about_the_collection, *[about_the_collection] * 3]  # the last three are info's
