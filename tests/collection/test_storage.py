"""Storage options: they are fixed at creation, stored, and refused by engines that do not have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from t1_vectorstore.collection import Collection
from t1_vectorstore.errors import CollectionMismatch, StoreError
from t1_vectorstore.options import Retry, Storage
from t1_vectorstore.types import ModelIdentity, Vectors
from tests.collection.conftest import Place
from tests.collection.points import MODEL, point, points, vector
from tests.collection.stub_server import VERSION, Stub, described

KEPT = Storage(on_disk=True, payload_on_disk=False, quantization="int8", m=8, ef_construct=50)


def test_a_collection_stores_its_storage_options(place: Place) -> None:
    if place.engine == "memory":
        pytest.skip("memory has no storage options")
    place.open(storage=KEPT, hybrid=True).upsert(points(300))
    place.close()
    again = place.open(storage=KEPT)
    assert {hit.id for hit in again.search(vector(7), limit=1)} == {"doc 7"}
    assert len(again.search(vector(7), text="doc", limit=5, diversity=0.5)) == 5
    place.close()
    place.open(storage=None)
    place.close()
    with pytest.raises(CollectionMismatch, match=r"quantization='int8'.*opened with Storage\(\)"):
        place.open(storage=Storage())


def test_storage_options_that_an_engine_does_not_have_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"storage\.quantization"):
        Collection.open(":memory:", identity=MODEL, storage=Storage(quantization="int8"))
    with pytest.raises(ValueError, match=r"storage\.replicas.*cluster"):
        Collection.open(tmp_path / "index", identity=MODEL, storage=Storage(replicas=2))
    with pytest.raises(ValueError, match="shard_key='eu'"):
        Collection.open(tmp_path / "index", identity=MODEL, shard_key="eu")
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"quantization": "int4"}, ValueError, "'int8' or 'binary', got 'int4'"),
        ({"on_disk": 1}, TypeError, "on_disk must be a valid boolean, got 1"),
        ({"on_disk": None}, TypeError, "on_disk must be a valid boolean, got None"),
        ({"m": 1}, ValueError, "m must be greater than or equal to 2, got 1"),
        ({"shards": 0}, ValueError, "shards must be greater than or equal to 1, got 0"),
        ({"replicas": True}, TypeError, "replicas must be a valid integer, got True"),
        ({"replicas": 2, "write_consistency": 3}, ValueError, "=3 needs more servers than replicas=2"),
        ({"shard_keys": "eu"}, TypeError, "shard_keys must be a valid tuple, got 'eu'"),
        ({"shard_keys": ["eu", "eu"]}, ValueError, "names a shard twice: .'eu', 'eu'"),
    ],
)
def test_invalid_storage_options_are_refused(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        Storage(**options)


@pytest.mark.server
def test_the_server_gets_the_storage_options(server_url: str, fresh_name: str, admin: QdrantClient) -> None:
    storage = Storage(on_disk=True, payload_on_disk=False, quantization="binary", m=8, ef_construct=50, shards=2)
    with Collection.open(server_url, name=fresh_name, identity=MODEL, storage=storage):
        config = admin.get_collection(fresh_name).config
    assert isinstance(config.params.vectors, models.VectorParams)
    assert config.params.vectors.on_disk
    assert not config.params.on_disk_payload
    assert isinstance(config.quantization_config, models.BinaryQuantization)
    assert (config.hnsw_config.m, config.hnsw_config.ef_construct, config.params.shard_number) == (8, 50, 2)


@pytest.mark.server
@pytest.mark.parametrize("storage", [Storage(replicas=2), Storage(shard_keys=["eu"])])
def test_a_single_server_refuses_cluster_options(
    server_url: str, fresh_name: str, admin: QdrantClient, storage: Storage
) -> None:
    with pytest.raises(StoreError, match="single server"):
        Collection.open(server_url, name=fresh_name, identity=MODEL, storage=storage)
    assert not admin.collection_exists(fresh_name)


@pytest.mark.server
@pytest.mark.parametrize(("quantization", "least"), [(None, 0.95), ("int8", 0.95), ("binary", 0.85)])
def test_quantised_vectors_find_nearly_the_same_points(
    server_url: str, fresh_name: str, admin: QdrantClient, quantization: Any, least: float
) -> None:
    dimension, count = 128, 4000
    model = ModelIdentity("test-model", "a" * 64, dimension)
    stored, asked = clustered(count, dimension), clustered(20, dimension, first=count)
    storage = Storage(quantization=quantization)
    with Collection.open(server_url, name=fresh_name, identity=model, storage=storage) as collection:
        admin.update_collection(fresh_name, optimizers_config=models.OptimizersConfigDiff(indexing_threshold=100))
        with collection.bulk():
            collection.upsert(point(f"doc {number}", at=row) for number, row in enumerate(stored))
        settled = collection.settle(timeout=60)
        assert settled is not None
        assert settled.indexed == count
        found = [{hit.id for hit in collection.search(query)} for query in asked]
    nearest = np.argsort(-(asked @ stored.T), axis=1)[:, :10]
    true = [{f"doc {number}" for number in row} for row in nearest]
    assert np.mean([len(a & b) / 10 for a, b in zip(found, true, strict=True)]) >= least


def test_queries_that_an_older_server_would_ignore_are_refused(stub: Stub, retry: Retry) -> None:
    metadata = dict(described()["config"]["metadata"])
    metadata["t1"] = {**metadata["t1"], "format": 2, "hybrid": True}
    stub.result(described(metadata=metadata))
    with Collection.open(stub.url, identity=MODEL, retry=retry, grpc_port=1) as collection:
        stub.answers.clear()
        stub.answer(200, VERSION | {"version": "1.14.1"})
        stub.result({"points": []})
        with pytest.raises(StoreError, match=r"1\.14\.1, which cannot choose diverse hits.*1\.15"):
            collection.search(vector(1), diversity=0.5)
        with pytest.raises(StoreError, match=r"fuse rankings.*1\.16"):
            collection.search(vector(1), text="words")
        assert collection.search(vector(1)) == []
        assert [asked for asked in stub.asked if asked == "GET /"] == ["GET /"]


def clustered(count: int, dimension: int, first: int = 0) -> Vectors:
    """Return vectors of unit length around twenty centres."""
    centres = np.random.default_rng(1).standard_normal((20, dimension))
    random = np.random.default_rng(2 + first)
    drawn = centres[random.integers(0, 20, count)] + 0.7 * random.standard_normal((count, dimension))
    rows: Vectors = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
    return rows
