"""Retries of failing calls, against a stub: without waits, and without a real server."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import grpc
import pytest

from t1_vectorstore.collection import Collection
from t1_vectorstore.errors import CollectionNotFound, StoreError, StoreUnavailable
from t1_vectorstore.options import Retry
from tests.collection.points import MODEL, points, vector
from tests.collection.stub_server import Stub, opened


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 0])
def test_transient_errors_are_retried(stub: Stub, retry: Retry, waits: list[float], status: int) -> None:
    with opened(stub, retry) as collection:
        stub.error(status)
        stub.error(status)
        stub.result({"count": 7})
        assert collection.count() == 7
        assert len(stub.asked) == 3
        assert len(waits) == 2
        assert all(0 <= wait <= 5 for wait in waits)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 413, 422])
def test_refusals_are_not_retried(stub: Stub, retry: Retry, waits: list[float], status: int) -> None:
    with opened(stub, retry) as collection:
        stub.error(status, "because of this")
        with pytest.raises(StoreError, match="because of this") as caught:
            collection.upsert(points(1))
        assert len(stub.asked) == 1
        assert waits == []
        assert isinstance(caught.value, CollectionNotFound) == (status == 404)
        assert ("API key" in str(caught.value)) == (status in (401, 403))
        assert not isinstance(caught.value, StoreUnavailable)


def test_retries_end_after_the_number_of_attempts(stub: Stub, retry: Retry, waits: list[float]) -> None:
    with opened(stub, retry) as collection:
        stub.error(503, "overloaded")
        with pytest.raises(StoreUnavailable, match=f"{stub.url}.*overloaded"):
            collection.search(vector(1))
        assert len(stub.asked) == 5
        assert len(waits) == 4


def test_asearch_retries_too(stub: Stub) -> None:
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


def test_closing_ends_an_asearch_that_waits(stub: Stub) -> None:
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


def test_an_asearch_can_be_cancelled(stub: Stub) -> None:
    with opened(stub, Retry(budget=1000.0)) as collection:
        stub.error(429, Retry_After="60")

        async def give_up() -> None:
            await asyncio.wait_for(collection.asearch(vector(1)), 0.2)

        with pytest.raises(asyncio.TimeoutError):
            asyncio.run(give_up())


def test_retries_end_after_the_time_budget(stub: Stub, waits: list[float]) -> None:
    with opened(stub, Retry(budget=0.0, sleep=waits.append)) as collection:
        stub.error(503)
        with pytest.raises(StoreUnavailable):
            collection.count()
        assert len(stub.asked) == 1


def test_retry_after_is_respected(stub: Stub, retry: Retry, waits: list[float]) -> None:
    with opened(stub, retry) as collection:
        stub.error(429, Retry_After="7")
        stub.result({"count": 1})
        assert collection.count() == 1
        assert waits[0] >= 7


@pytest.mark.parametrize("status", [429, 503])
def test_a_wait_longer_than_the_budget_is_not_started(
    stub: Stub, retry: Retry, waits: list[float], status: int
) -> None:
    with opened(stub, retry) as collection:
        stub.error(status, "busy", Retry_After="7")
        stub.error(status, "busy", Retry_After="3600")
        with pytest.raises(StoreUnavailable, match=r"asks to wait 3600 s: .*busy"):
            collection.count()
        assert len(stub.asked) == 2
        assert waits[0] >= 7


def test_a_retry_after_date_is_retried(stub: Stub, retry: Retry, waits: list[float]) -> None:
    with opened(stub, retry) as collection:
        stub.error(429, Retry_After="Wed, 21 Oct 2026 07:28:00 GMT")
        stub.result({"count": 1})
        assert collection.count() == 1
        assert len(waits) == 1


@pytest.mark.timeout(30)
def test_an_unreachable_server_is_reported_soon() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    waits: list[float] = []
    with pytest.raises(StoreUnavailable, match=url) as caught:
        Collection.open(url, identity=MODEL, retry=Retry(attempts=4, sleep=waits.append))
    assert "is it running" in str(caught.value)
    assert len(waits) == 3


def test_a_server_that_never_answers_is_reported(stub: Stub) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(StoreUnavailable, match="does not answer"):
            Collection.open(url, identity=MODEL, timeout=0.5, retry=Retry(attempts=1))


def test_grpc_status_codes_are_converted() -> None:
    from t1_vectorstore.engines.server.retry import is_transient, with_retries

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
            with_retries(call, Retry(attempts=3, sleep=waits.append), "http://somewhere")
        assert len(calls) == (3 if status.name in transient else 1), status
        assert isinstance(caught.value, StoreUnavailable) == (status.name in transient)
        assert isinstance(caught.value, CollectionNotFound) == (status.name == "NOT_FOUND")
        assert is_transient(caught.value.__cause__ or ValueError()) == (status.name in transient)
