"""Bulk loads defer indexing, and it is always restored."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from qdrant_client import QdrantClient, models

from t1_vectorstore.collection import Collection
from t1_vectorstore.errors import StoreError
from t1_vectorstore.options import Retry
from t1_vectorstore.types import Indexing
from tests.collection.conftest import CLOSED_PORT, Place
from tests.collection.points import MODEL, points, vector
from tests.collection.stub_server import Stub, described, opened

ROOT = Path(__file__).parents[2]


def threshold(admin: QdrantClient, name: str) -> int | None:
    return admin.get_collection(name).config.optimizer_config.indexing_threshold


def test_every_engine_supports_bulk_loads(place: Place) -> None:
    collection = place.open()
    with collection.bulk(), collection.bulk():
        collection.upsert(points(300))
        assert len(collection.search(vector(1), limit=3)) == 3
    collection.restore_indexing()
    settled = collection.settle(timeout=60)
    assert collection.count() == 300
    if place.engine == "server":
        assert settled is not None
        assert (settled.status, settled.deferred) == ("green", False)
    else:
        assert settled is None
        assert collection.info().indexing is None


@pytest.mark.server
@pytest.mark.parametrize("port", [None, CLOSED_PORT])
def test_the_former_threshold_is_restored(
    server_url: str, fresh_name: str, admin: QdrantClient, port: int | None
) -> None:
    with Collection.open(server_url, name=fresh_name, identity=MODEL, grpc_port=port) as collection:
        admin.update_collection(fresh_name, optimizers_config=models.OptimizersConfigDiff(indexing_threshold=777))
        for _ in range(2):
            with collection.bulk():
                with collection.bulk():
                    assert threshold(admin, fresh_name) == 0
                assert threshold(admin, fresh_name) == 0
                indexing = collection.info().indexing
                assert indexing is not None
                assert indexing.deferred
            assert threshold(admin, fresh_name) == 777
        with pytest.raises(KeyError), collection.bulk():
            raise KeyError
        assert threshold(admin, fresh_name) == 777
    with Collection.open(server_url, name=fresh_name, identity=MODEL) as collection:  # its description is still valid
        assert collection.identity == MODEL


@pytest.mark.server
def test_overlapping_loads_of_several_clients_restore_the_threshold(
    server_url: str, fresh_name: str, admin: QdrantClient
) -> None:
    with (
        Collection.open(server_url, name=fresh_name, identity=MODEL) as one,
        Collection.open(server_url, name=fresh_name, identity=MODEL) as other,
    ):
        before = threshold(admin, fresh_name)
        assert before
        with one.bulk():
            with other.bulk():
                assert threshold(admin, fresh_name) == 0
            one.upsert(points(10))
        assert threshold(admin, fresh_name) == before


@pytest.mark.server
def test_indexing_is_restored_after_a_killed_load(server_url: str, fresh_name: str, admin: QdrantClient) -> None:
    script = """
        import os, sys
        from t1_vectorstore.collection import Collection
        from tests.collection.points import MODEL, points
        with Collection.open(sys.argv[1], name=sys.argv[2], identity=MODEL) as collection:
            with collection.bulk():
                collection.upsert(points(5))
                os.kill(os.getpid(), 9)
        """
    for repair in ("restore", "next load"):
        command = [sys.executable, "-c", textwrap.dedent(script), server_url, fresh_name]
        assert subprocess.run(command, cwd=ROOT, timeout=120).returncode == -9
        assert threshold(admin, fresh_name) == 0
        with Collection.open(server_url, name=fresh_name, identity=MODEL) as collection:
            indexing = collection.info().indexing
            assert indexing is not None
            assert indexing.deferred
            if repair == "restore":
                collection.restore_indexing()
            else:
                with collection.bulk():
                    collection.upsert(points(5))
        assert threshold(admin, fresh_name)


@pytest.mark.server
def test_indexing_that_a_user_turned_off_stays_off(server_url: str, fresh_name: str, admin: QdrantClient) -> None:
    with Collection.open(server_url, name=fresh_name, identity=MODEL) as collection:
        admin.update_collection(fresh_name, optimizers_config=models.OptimizersConfigDiff(indexing_threshold=0))
        with collection.bulk():
            pass
        assert threshold(admin, fresh_name) == 0


@pytest.mark.server
def test_settle_waits_for_the_graph_and_reports_progress(server_url: str, fresh_name: str, admin: QdrantClient) -> None:
    seen: list[Indexing] = []
    with Collection.open(server_url, name=fresh_name, identity=MODEL) as collection:
        admin.update_collection(fresh_name, optimizers_config=models.OptimizersConfigDiff(indexing_threshold=10))
        with collection.bulk():
            collection.upsert(points(2000))
            assert collection.settle() == Indexing("green", 0, 2000, deferred=True)
        collection.settle(timeout=60, on_progress=seen.append)
    assert seen[0].status == "yellow"
    assert seen[-1].status == "green"
    assert admin.get_collection(fresh_name).indexed_vectors_count


def test_a_server_without_metadata_continues_indexing(stub: Stub, retry: Retry) -> None:
    with opened(stub, retry) as collection:
        description = described()
        description["config"]["optimizer_config"]["indexing_threshold"] = 10000
        stub.result(description)
        stub.result(True)
        stub.result(description)  # the metadata was not kept
        with collection.bulk():
            assert [asked.split()[0] for asked in stub.asked] == ["GET", "PATCH", "GET"]
        assert [asked.split()[0] for asked in stub.asked] == ["GET", "PATCH", "GET", "GET"]


def test_settle_reports_a_failed_optimizer_and_stops_at_the_timeout(stub: Stub, retry: Retry) -> None:
    with opened(stub, retry) as collection:
        stub.result({**described(), "status": "red", "optimizer_status": {"error": "no space left"}})
        with pytest.raises(StoreError, match="no space left"):
            collection.settle()
        stub.answers.clear()
        stub.result({**described(), "status": "yellow", "points_count": 3000, "indexed_vectors_count": 1000})
        with pytest.raises(StoreError, match="1,000 of 3,000"):
            collection.settle(timeout=0)


def test_a_waiting_optimizer_is_woken(stub: Stub, retry: Retry) -> None:
    with opened(stub, retry) as collection:
        stub.result({**described(), "status": "grey"})
        stub.result({**described(), "status": "grey"})
        stub.result(True)
        stub.result(described())
        collection.settle()
        assert [asked.split()[0] for asked in stub.asked] == ["GET", "GET", "PATCH", "GET"]


def test_the_error_of_a_load_is_raised_if_restoring_fails_too(stub: Stub, retry: Retry) -> None:
    with opened(stub, retry) as collection:
        stub.result(described())
        stub.error(503, "gone")
        with pytest.warns(UserWarning, match="restore_indexing"), pytest.raises(KeyError), collection.bulk():
            raise KeyError
