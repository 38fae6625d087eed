"""Tests that need a real server: other programs' collections, several processes, both protocols."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import QdrantClient, models

from t1_vectorstore.collection import Collection
from t1_vectorstore.engines.server.engine import ServerEngine
from t1_vectorstore.errors import CollectionMismatch, CollectionNotFound, StoreError
from tests.collection.conftest import CLOSED_PORT
from tests.collection.points import DIMENSION, MODEL, OTHER, points, vector

pytestmark = pytest.mark.server
ROOT = Path(__file__).parents[2]
A, B = "0b5ee3a4-7f0e-4a52-9f6e-3f3f6f1c2d11", "1c6ff4b5-8a1f-4b63-8a7f-4a4a7a2d3e22"


def protocol(collection: Collection) -> str:
    """The protocol of the client that reads and writes points; the first call about points chooses it."""
    engine = collection._engine
    assert isinstance(engine, ServerEngine)
    assert engine._point_client is None
    assert collection.count() == 0
    assert engine._point_client is not None
    return "grpc" if engine._point_client._client._prefer_grpc else "rest"  # type: ignore[attr-defined]


def test_opening_without_create_creates_no_collection(server_url: str, fresh_name: str, admin: QdrantClient) -> None:
    for options in ({}, {"identity": MODEL, "create": False}):
        with pytest.raises(CollectionNotFound, match=fresh_name):
            Collection.open(server_url, name=fresh_name, **options)  # type: ignore[arg-type]
    assert not admin.collection_exists(fresh_name)


def test_the_description_is_in_the_collections_metadata(server_url: str, fresh_name: str, admin: QdrantClient) -> None:
    with Collection.open(server_url, name=fresh_name, identity=MODEL):
        metadata = admin.get_collection(fresh_name).config.metadata or {}
    assert metadata["t1"]["fingerprint"] == MODEL.fingerprint
    assert metadata["t1"]["model"] == MODEL.model


def test_grpc_is_used_if_it_leads_to_the_same_collection(server_url: str, fresh_name: str, admin: QdrantClient) -> None:
    with Collection.open(server_url, name=fresh_name, identity=MODEL) as collection:
        assert protocol(collection) == "grpc"
    with Collection.open(server_url, name=fresh_name, identity=MODEL, grpc_port=CLOSED_PORT) as collection:
        assert protocol(collection) == "rest"
    rest_port = int(server_url.rsplit(":", 1)[1])  # the server listens there, but without gRPC
    with Collection.open(server_url, name=fresh_name, identity=MODEL, grpc_port=rest_port, timeout=2) as collection:
        assert protocol(collection) == "rest"
    metadata: dict[str, Any] = {"t1": {"uid": "another server's"}}
    admin.update_collection(fresh_name, metadata=metadata)
    with pytest.raises(StoreError, match="damaged"):
        Collection.open(server_url, name=fresh_name, identity=MODEL)


def test_a_collection_of_langchain_can_be_adopted(server_url: str, fresh_name: str, admin: QdrantClient) -> None:
    params = models.VectorParams(size=DIMENSION, distance=models.Distance.COSINE)
    admin.create_collection(fresh_name, vectors_config=params)
    payloads: list[dict[str, Any]] = [
        {"page_content": "one", "metadata": {"source": "x"}},
        {"page_content": "two", "metadata": None},
        {},
    ]
    admin.upsert(
        fresh_name,
        models.Batch(ids=[A, B, 7], vectors=[vector(n).tolist() for n in range(3)], payloads=payloads),
        wait=True,
    )
    with Collection.open(server_url, name=fresh_name) as collection:
        assert collection.identity.fingerprint == ""
        assert collection.identity.dimension == DIMENSION
        assert collection.get([A])[A].text == "one"
    with pytest.raises(CollectionMismatch, match="adopt=True"):
        Collection.open(server_url, name=fresh_name, identity=MODEL)
    with Collection.open(server_url, name=fresh_name, identity=MODEL, adopt=True) as collection:
        assert collection.identity == MODEL
        (hit,) = collection.search(vector(0), limit=1, filter={"source": "x"})
        assert (hit.id, hit.text, hit.document_id, hit.start, hit.end) == (A, "one", A, 0, 3)
        assert hit.metadata == {"source": "x"}
        assert collection.get([B, "7"])[B].metadata == {}
        assert collection.get(["7"])["7"].text == ""
        assert collection.content_hashes([A, B]) == {}
        assert collection.upsert(points(3)) == 3
        assert collection.delete([A]) == 1
        assert collection.delete_documents(["7", "doc 1"]) == 2
        assert collection.count() == 3
    assert admin.get_collection(fresh_name).config.metadata is None


def test_a_collection_can_be_opened_by_an_alias(server_url: str, fresh_name: str, admin: QdrantClient) -> None:
    with Collection.open(server_url, name=fresh_name, identity=MODEL) as collection:
        collection.upsert(points(3))
    alias = f"{fresh_name}-alias"
    operation = models.CreateAlias(collection_name=fresh_name, alias_name=alias)
    admin.update_collection_aliases([models.CreateAliasOperation(create_alias=operation)])
    with Collection.open(server_url, name=alias, identity=MODEL) as collection:
        assert collection.count() == 3
        assert collection.name == alias


def test_a_deleted_collection_is_reported(server_url: str, fresh_name: str, admin: QdrantClient) -> None:
    for port in (None, CLOSED_PORT):
        with Collection.open(server_url, name=fresh_name, identity=MODEL, grpc_port=port) as collection:
            admin.delete_collection(fresh_name)
            with pytest.raises(CollectionNotFound, match=fresh_name):
                collection.count()


def test_processes_that_create_a_collection_at_once_share_it(
    server_url: str, fresh_name: str, admin: QdrantClient
) -> None:
    script = """
        import sys
        from t1_vectorstore.collection import Collection
        from tests.collection.points import MODEL, points
        url, name, number = sys.argv[1:]
        sys.stdin.readline()
        with Collection.open(url, name=name, identity=MODEL) as collection:
            collection.upsert(points(50, int(number) * 50))
        """
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(script), server_url, fresh_name, str(number)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in range(2)
    ]
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in workers:
        said, _ = worker.communicate(timeout=120)
        assert worker.returncode == 0, said
    with Collection.open(server_url, name=fresh_name) as collection:
        assert collection.count() == 100
        assert collection.identity == MODEL
    with pytest.raises(CollectionMismatch):
        Collection.open(server_url, name=fresh_name, identity=OTHER)
