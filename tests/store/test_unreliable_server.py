"""What a client does about a server that fails, against a stub: no sleeping, no real server."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from t1_vectorstore.errors import CollectionMismatch, CollectionNotFound, StoreError, StoreUnavailable, WriteRefused
from t1_vectorstore.ids import point_id
from t1_vectorstore.store import Collection, Retry
from t1_vectorstore.types import Chunk, Point
from tests.store.points import MODEL, points, vector
from tests.store.stub_server import VERSION, Stub, stub_server


@pytest.fixture
def stub() -> Iterator[Stub]:
    with stub_server() as running:
        yield running


@pytest.fixture
def waits() -> list[float]:
    """The waits that were asked for, none of which is waited for."""
    return []


@pytest.fixture
def retry(waits: list[float]) -> Retry:
    return Retry(budget=1000.0, attempts=5, sleep=waits.append)


def described(**changes: Any) -> dict[str, Any]:
    """A collection as a server describes it."""
    schema = {
        "format": 1,
        "name": "t1",
        "model": MODEL.model,
        "fingerprint": MODEL.fingerprint,
        "dimension": MODEL.dimension,
        "content_key": "page_content",
        "metadata_key": "metadata",
        "distance": "cosine",
        "uid": "f" * 32,
    }
    vectors = {"size": MODEL.dimension, "distance": "Cosine"}
    given = {"vectors": vectors, "metadata": {"t1": schema}, **changes}
    params = {"vectors": given["vectors"], "shard_number": 1, "replication_factor": 1, "on_disk_payload": True}
    return {
        "status": "green",
        "optimizer_status": "ok",
        "segments_count": 2,
        "points_count": 0,
        "config": {
            "params": params,
            "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10000},
            "optimizer_config": {
                "deleted_threshold": 0.2,
                "vacuum_min_vector_number": 1000,
                "default_segment_number": 0,
                "flush_interval_sec": 5,
            },
            "metadata": given["metadata"],
        },
        "payload_schema": {},
    }


def opened(stub: Stub, retry: Retry, **options: Any) -> Collection:
    stub.result(described())
    collection = Collection.open(stub.url, **{"identity": MODEL, "retry": retry, "grpc_port": 1, **options})
    stub.answers.clear()
    stub.asked.clear()
    return collection


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 0])
def test_a_transient_error_is_tried_again(stub: Stub, retry: Retry, waits: list[float], status: int) -> None:
    with opened(stub, retry) as collection:
        stub.error(status)
        stub.error(status)
        stub.result({"count": 7})
        assert collection.count() == 7
        assert len(stub.asked) == 3
        assert len(waits) == 2
        assert all(0 <= wait <= 5 for wait in waits)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 413, 422])
def test_a_refusal_is_never_tried_again(stub: Stub, retry: Retry, waits: list[float], status: int) -> None:
    with opened(stub, retry) as collection:
        stub.error(status, "because of this")
        with pytest.raises(StoreError, match="because of this") as caught:
            collection.upsert(points(1))
        assert len(stub.asked) == 1
        assert waits == []
        assert isinstance(caught.value, CollectionNotFound) == (status == 404)
        assert ("API key" in str(caught.value)) == (status in (401, 403))
        assert not isinstance(caught.value, StoreUnavailable)


def test_patience_ends(stub: Stub, retry: Retry, waits: list[float]) -> None:
    with opened(stub, retry) as collection:
        stub.error(503, "overloaded")
        with pytest.raises(StoreUnavailable, match=f"{stub.url}.*overloaded"):
            collection.search(vector(1))
        assert len(stub.asked) == 5
        assert len(waits) == 4


def test_an_awaited_search_is_as_patient(stub: Stub) -> None:
    patient = Retry(budget=1000.0, attempts=5, first_wait=0.001)
    with opened(stub, patient) as collection:
        stub.error(503)
        stub.error(0)
        stub.result({"points": []})
        assert asyncio.run(collection.asearch(vector(1))) == []
        assert len(stub.asked) == 3
        stub.answers.clear()
        stub.error(503, "overloaded")
        with pytest.raises(StoreUnavailable, match=f"{stub.url}.*overloaded"):
            asyncio.run(collection.asearch(vector(1)))
        stub.answers.clear()
        stub.error(400, "because of this")
        with pytest.raises(StoreError, match="because of this"):
            asyncio.run(collection.asearch(vector(1)))
    with pytest.raises(StoreError, match="is closed"):
        asyncio.run(collection.asearch(vector(1)))


def test_closing_ends_an_awaited_search_that_waits(stub: Stub) -> None:
    collection = opened(stub, Retry(budget=1000.0, first_wait=60.0, longest_wait=60.0))
    stub.error(429, Retry_After="60")

    async def close_meanwhile() -> None:
        waiting = asyncio.create_task(collection.asearch(vector(1)))
        while not stub.asked:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(collection.close)
        with pytest.raises(StoreError, match="closed while a search was under way"):
            await waiting

    asyncio.run(close_meanwhile())


def test_an_awaited_search_may_be_given_up(stub: Stub) -> None:
    with opened(stub, Retry(budget=1000.0)) as collection:
        stub.error(429, Retry_After="60")

        async def give_up() -> None:
            await asyncio.wait_for(collection.asearch(vector(1)), 0.2)

        with pytest.raises(asyncio.TimeoutError):
            asyncio.run(give_up())


def test_patience_ends_by_the_clock_too(stub: Stub, waits: list[float]) -> None:
    with opened(stub, Retry(budget=0.0, sleep=waits.append)) as collection:
        stub.error(503)
        with pytest.raises(StoreUnavailable):
            collection.count()
        assert len(stub.asked) == 1


def test_the_server_may_say_how_long_to_wait(stub: Stub, retry: Retry, waits: list[float]) -> None:
    with opened(stub, retry) as collection:
        stub.error(429, Retry_After="7")
        stub.result({"count": 1})
        assert collection.count() == 1
        assert waits[0] >= 7


@pytest.mark.parametrize("status", [429, 503])
def test_a_wait_beyond_all_patience_is_not_begun(stub: Stub, retry: Retry, waits: list[float], status: int) -> None:
    with opened(stub, retry) as collection:
        stub.error(status, "busy", Retry_After="7")
        stub.error(status, "busy", Retry_After="3600")
        with pytest.raises(StoreUnavailable, match=r"left alone for 3600 s: .*busy"):
            collection.count()
        assert len(stub.asked) == 2
        assert waits[0] >= 7


def test_a_date_to_wait_for_is_no_refusal(stub: Stub, retry: Retry, waits: list[float]) -> None:
    with opened(stub, retry) as collection:
        stub.error(429, Retry_After="Wed, 21 Oct 2026 07:28:00 GMT")
        stub.result({"count": 1})
        assert collection.count() == 1
        assert len(waits) == 1


def test_the_point_that_is_refused_is_named(stub: Stub, retry: Retry) -> None:
    """Of eight points the sixth: a write of a part is taken exactly if it is not among them."""
    done = {"operation_id": 1, "status": "completed"}
    with opened(stub, retry) as collection:
        stub.result([])
        stub.error(422, "payload too large")
        stub.result(done)  # 0 to 3
        stub.error(422, "payload too large")  # 4 and 5
        stub.result(done)  # 4
        with pytest.raises(WriteRefused, match=r"payload too large.*'doc 5'") as caught:
            collection.upsert(points(8))
        assert caught.value.ids == ["doc 5"]
        stub.answers.clear()
        stub.result([])
        stub.error(400, "shard key not specified")
        with pytest.raises(WriteRefused, match="shard key not specified") as caught:
            collection.upsert(points(8))
        assert caught.value.ids == []


def test_a_write_that_is_only_acknowledged_is_not_taken_for_done(stub: Stub, retry: Retry) -> None:
    with opened(stub, retry) as collection:
        stub.result([])
        stub.result({"operation_id": 1, "status": "acknowledged"})
        with pytest.raises(StoreError, match="acknowledged"):
            collection.upsert(points(1))


def test_an_unreachable_server_is_named_soon() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    started = time.monotonic()
    waits: list[float] = []
    with pytest.raises(StoreUnavailable, match=url) as caught:
        Collection.open(url, identity=MODEL, retry=Retry(attempts=4, sleep=waits.append))
    assert "is it running" in str(caught.value)
    assert len(waits) == 3
    assert time.monotonic() - started < 20


def test_a_server_that_never_answers_is_given_up(stub: Stub) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(StoreUnavailable, match="does not answer"):
            Collection.open(url, identity=MODEL, timeout=0.5, retry=Retry(attempts=1))


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, b"<html>It works!</html>"), (200, {"hello": "world"}), (200, b""), (301, b""), (404, b"nginx")],
)
def test_another_kind_of_server_is_told_apart(stub: Stub, retry: Retry, status: int, body: Any) -> None:
    stub.answer(status, body)
    with pytest.raises(StoreError, match=stub.url):
        Collection.open(stub.url, identity=MODEL, retry=retry)
    assert not any(asked.startswith(("PUT", "DELETE")) for asked in stub.asked)


def test_an_older_server_creates_nothing(stub: Stub, retry: Retry) -> None:
    stub.result({"aliases": []})
    stub.error(404, "Not found: Collection `t1` doesn't exist!")
    stub.answer(200, VERSION | {"version": "1.15.4"})
    with pytest.raises(StoreError, match=r"Qdrant 1\.15\.4.*1\.16"):
        Collection.open(stub.url, identity=MODEL, retry=retry)
    assert not any(asked.startswith("PUT") for asked in stub.asked)


def test_a_collection_that_another_process_just_created_is_taken(stub: Stub, retry: Retry) -> None:
    stub.result({"aliases": []})
    stub.error(404, "Not found")
    stub.answer(200, VERSION)
    stub.error(409, "Collection `t1` already exists!")
    stub.result(described())
    with Collection.open(stub.url, identity=MODEL, retry=retry, grpc_port=1) as collection:
        assert collection.identity == MODEL
    assert stub.asked[3].startswith("PUT")


def test_other_vectors_are_a_mismatch(stub: Stub, retry: Retry) -> None:
    for vectors, words in (
        ({"text": {"size": 8, "distance": "Cosine"}}, "named vectors.*'text'"),
        ({}, "named vectors"),
        ({"size": 8, "distance": "Dot"}, "dot"),
        ({"size": 9, "distance": "Cosine"}, "9 dimensions"),
    ):
        stub.answers.clear()
        stub.result(described(vectors=vectors))
        with pytest.raises(CollectionMismatch, match=words):
            Collection.open(stub.url, identity=MODEL, retry=retry)


@pytest.mark.parametrize("metadata", [{"t1": {}}, {"t1": {"format": "x"}}, {"t1": "x"}, {"t1": ["x"]}])
def test_a_damaged_description_is_named(stub: Stub, retry: Retry, metadata: dict[str, Any]) -> None:
    stub.result(described(metadata=metadata))
    with pytest.raises(StoreError, match="the metadata of the collection 't1'"):
        Collection.open(stub.url, identity=MODEL, retry=retry)


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
def test_the_api_key_is_sent(stub: Stub, retry: Retry) -> None:
    with opened(stub, retry, api_key="secret"):
        assert set(stub.api_keys) == {"secret"}


def test_what_grpc_says_is_understood() -> None:
    from t1_vectorstore.engines.server_errors import is_transient, patiently

    class Failure(grpc.RpcError):
        def __init__(self, code: grpc.StatusCode) -> None:
            self._code = code

        def code(self) -> grpc.StatusCode:
            return self._code

        def details(self) -> str:
            return "because of this"

    transient = {"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED", "INTERNAL"}
    for status in grpc.StatusCode:
        calls, waits = [], []  # type: ignore[var-annotated]

        def call(status: Any = status, calls: Any = calls) -> None:
            calls.append(1)
            raise Failure(status)

        with pytest.raises(StoreError, match="because of this") as caught:
            patiently(call, Retry(attempts=3, sleep=waits.append), "http://somewhere")
        assert len(calls) == (3 if status.name in transient else 1), status
        assert isinstance(caught.value, StoreUnavailable) == (status.name in transient)
        assert isinstance(caught.value, CollectionNotFound) == (status.name == "NOT_FOUND")
        assert is_transient(caught.value.__cause__ or ValueError()) == (status.name in transient)


def test_of_two_batches_that_fail_the_first_is_told(stub: Stub, retry: Retry) -> None:
    """The second batch is written while the third is made ready, and both are wrong."""
    with opened(stub, retry) as collection:
        first = list(points(256))
        stub.result([])
        stub.result({"operation_id": 1, "status": "completed"})
        proof = [
            {"id": point_id(p.chunk.id), "payload": {"t1": {"id": p.chunk.id, "content_hash": p.chunk.content_hash}}}
            for p in first
        ]
        stub.result(proof)
        stub.result([])
        stub.error(400, "because of this")
        bad = Point(Chunk("bad", "bad", "text", 0, 4), vector(1, dimension=3))
        with pytest.raises(StoreError, match=r"because of this.*256 points were stored before") as caught:
            collection.upsert([*first, *points(257, first=256), bad])
        assert caught.value.stored == 256  # type: ignore[attr-defined]
