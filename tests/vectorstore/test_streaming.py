"""Searches whose thought is read while it is generated, and searches that are given up."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from t1_vectorstore import Document, SearchResult, T1Embedder, T1VectorStore

DOCUMENTS = [
    Document("Oslo is the capital of Norway.", id="norway", metadata={"country": "Norway"}),
    Document("Paris is the capital of France.", id="france", metadata={"country": "France"}),
    Document("Wheat grows in the fields of France.", id="wheat", metadata={"country": "France"}),
]
QUERY = "what is exported by the country whose capital is Oslo, and which tongues are heard there"


@pytest.fixture(params=["t1-mini", "fake"])
def store(request: pytest.FixtureRequest) -> Iterator[T1VectorStore]:
    embedder = T1Embedder.fake() if request.param == "fake" else T1Embedder.load("t1-mini")
    with embedder, T1VectorStore.open(":memory:", embedder, hybrid=True) as store:
        store.add(DOCUMENTS)
        yield store


class SlowThoughts:
    """Makes an embedder's thoughts slow enough to be stopped, and counts their tokens."""

    def __init__(self, store: T1VectorStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tokens = 0
        self.ended = threading.Event()
        self.error: BaseException | None = None
        backend: Any = store.embedder._backend
        think = backend.think

        def slow(*arguments: Any, on_tokens: Any, **options: Any) -> Any:
            def report(index: int, new: Any) -> None:
                self.tokens += len(new)
                time.sleep(0.02)
                on_tokens(index, new)

            try:
                return think(*arguments, on_tokens=report, **options)
            except BaseException as error:
                self.error = error
                raise
            finally:
                self.ended.set()

        monkeypatch.setattr(backend, "think", slow)

    def check_stopped(self) -> None:
        """Check that the model stopped early."""
        assert self.ended.wait(10)
        assert type(self.error).__name__ == "_ThoughtStopped"
        assert 0 < self.tokens < 10


def test_pieces_then_the_result(store: T1VectorStore) -> None:
    options: dict[str, Any] = {"limit": 2, "filter": {"country": "France"}}
    expected = store.search(QUERY, **options)
    *pieces, result = store.stream(QUERY, **options)
    assert isinstance(result, SearchResult)
    assert "".join(map(str, pieces)) == expected.thoughts[0].text != ""
    assert (result.query, result.hits, result.thoughts) == (QUERY, expected.hits, expected.thoughts)
    assert result.timings.embed > 0 < result.timings.search

    async def read() -> list[Any]:
        return [item async for item in store.astream(QUERY, **options)]

    *apieces, aresult = asyncio.run(read())
    assert apieces == pieces
    assert (aresult.hits, aresult.thoughts) == (expected.hits, expected.thoughts)
    [unthought] = store.stream(QUERY, think=False)
    assert isinstance(unthought, SearchResult)
    assert unthought.hits == store.search(QUERY, think=False).hits


@pytest.mark.parametrize(
    ("query", "options", "message"),
    [
        ("", {}, "empty"),
        ("x", {"limit": 0}, "limit must be"),
        ("x", {"budget": 3, "think": False}, "thinking is off"),
        ("x", {"filter": {"year": {"about": 2000}}}, "known operators are"),
    ],
)
def test_a_stream_is_checked_before_it_starts(
    store: T1VectorStore, query: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        store.stream(query, **options)

    async def start() -> AsyncGenerator[str | SearchResult, None]:
        return store.astream(query, **options)

    with pytest.raises(ValueError, match=message):
        asyncio.run(start())


@pytest.mark.parametrize("leave", ["close", "break", "error"])
def test_leaving_a_stream_stops_the_thought(store: T1VectorStore, leave: str, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = SlowThoughts(store, monkeypatch)

    def read() -> None:
        stream: Generator[str | SearchResult, None, None] = store.stream(QUERY)
        for _ in stream:
            if leave == "close":
                stream.close()
            elif leave == "error":
                raise KeyError(leave)
            else:
                break

    if leave == "error":
        with pytest.raises(KeyError):
            read()
    else:
        read()
    slow.check_stopped()
    monkeypatch.undo()
    assert store.search(QUERY).thoughts  # the model is free


def test_closing_or_cancelling_an_asynchronous_stream_stops_the_thought(
    store: T1VectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def close() -> None:
        async with aclosing(store.astream(QUERY)) as stream:
            async for _ in stream:
                break

    async def cancel() -> None:
        first = asyncio.Event()

        async def read() -> None:
            async for _ in store.astream(QUERY):
                first.set()

        task = asyncio.create_task(read())
        await first.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    for work in (close, cancel):
        slow = SlowThoughts(store, monkeypatch)
        asyncio.run(work())
        slow.check_stopped()
        monkeypatch.undo()


def test_cancelling_a_search_stops_the_thought(store: T1VectorStore, monkeypatch: pytest.MonkeyPatch) -> None:
    async def cancel() -> None:
        task = asyncio.create_task(store.asearch(QUERY))
        while not slow.tokens:
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    slow = SlowThoughts(store, monkeypatch)
    asyncio.run(cancel())
    slow.check_stopped()
    monkeypatch.undo()
    assert asyncio.run(store.asearch(QUERY)).thoughts == store.search(QUERY).thoughts


def test_a_time_limit_of_the_caller_stops_the_thought(store: T1VectorStore, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = SlowThoughts(store, monkeypatch)
    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(asyncio.wait_for(store.asearch(QUERY), 0.1))
    slow.check_stopped()


def test_an_error_of_the_model_or_the_collection_ends_a_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with T1VectorStore.open(tmp_path, T1Embedder.fake()) as store:
        store.add(DOCUMENTS)

        def fail(*_: Any, **__: Any) -> Any:
            raise RuntimeError("broken")

        monkeypatch.setattr(store.collection, "search", fail)
        stream = store.stream(QUERY)
        assert next(stream)
        with pytest.raises(RuntimeError, match="broken"):
            list(stream)
        monkeypatch.setattr(store.embedder._backend, "think", fail)

        async def read() -> list[Any]:
            return [item async for item in store.astream(QUERY)]

        with pytest.raises(RuntimeError, match="broken"):
            asyncio.run(read())
