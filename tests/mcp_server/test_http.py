"""MCP over HTTP, as a part of the service: the official client, the service's keys and its checks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from t1_vectorstore import Document, T1Embedder, T1VectorStore
from t1_vectorstore.server.keys import KeyFile, new_key
from tests.service.live import live
from tests.service.slow import QUERY, slow_embedder


async def until_async(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.01)


async def call(url: str, key: str | None, tool: str, **arguments: Any) -> Any:
    """Return the answer of a tool, or the text of its error."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with (
        httpx.AsyncClient(headers=headers, timeout=60) as http,
        Client(streamable_http_client(f"{url}/mcp", http_client=http)) as client,
    ):
        result = await client.call_tool(tool, arguments)
    return result.content[0].text if result.is_error else result.structured_content


async def test_agents_use_the_service_with_its_keys(tmp_path: Path) -> None:
    embedder = T1Embedder.fake(16, truncation="allow")
    reader, reading = new_key("reader", indexes=["a"])
    writer, writing = new_key("writer", scopes=("read", "write"))
    file = tmp_path / "keys.json"
    file.write_text(KeyFile(keys=(reading, writing)).model_dump_json())
    with (
        T1VectorStore.open(tmp_path / "a", embedder) as a,
        T1VectorStore.open(tmp_path / "b", embedder) as b,
        live({"a": a, "b": b}, keys=file, mcp=True) as service,
    ):
        a.add([Document("Llamas live in the Andes.", "llamas")])
        found = await call(service.url, reader, "search", query="llamas")
        assert [passage["id"] for passage in found["passages"]] == ["llamas"]
        listed = await call(service.url, reader, "list_indexes")
        assert [index["name"] for index in listed["indexes"]] == ["a"]
        assert "there is no index 'b'" in await call(service.url, reader, "search", query="llamas", index="b")
        document = [{"text": "Alpacas live there, too.", "id": "alpacas"}]
        assert "may not write" in await call(service.url, reader, "upsert", documents=document)
        assert a.count() == 1
        assert (await call(service.url, writer, "upsert", documents=document, index="b"))["passages_written"] == 1
        assert b.count() == 1
        async with httpx.AsyncClient() as client:
            for headers in ({}, {"Authorization": "Bearer t1_wrong"}):
                answer = await client.post(f"{service.url}/mcp", json={}, headers=headers)
                assert answer.status_code == 401


async def test_a_browser_page_of_another_site_is_refused(tmp_path: Path) -> None:
    embedder = T1Embedder.fake(16)
    with T1VectorStore.open(tmp_path / "a", embedder) as store, live({"a": store}, mcp=True) as service:
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        async with httpx.AsyncClient() as client:
            for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}):
                answer = await client.post(f"{service.url}/mcp", json=body, headers=headers)
                assert answer.status_code == 403


async def test_without_the_option_there_is_nothing(tmp_path: Path) -> None:
    embedder = T1Embedder.fake(16)
    with T1VectorStore.open(tmp_path / "a", embedder) as store, live({"a": store}) as service:
        async with httpx.AsyncClient() as client:
            assert (await client.post(f"{service.url}/mcp", json={})).status_code in (404, 405)


async def test_an_upsert_takes_a_slot_of_documents(tmp_path: Path) -> None:
    embedder, backend = slow_embedder()
    slots = {"query_slots": 1, "query_queue": 0, "document_slots": 1, "document_queue": 0}
    with T1VectorStore.open(tmp_path / "a", embedder) as store, live({"a": store}, mcp=True, **slots) as service:
        backend.may_encode.clear()
        upsert = asyncio.ensure_future(call(service.url, None, "upsert", documents=[{"text": "Llamas.", "id": "x"}]))
        await until_async(lambda: service.app.state.service.documents.running == 1)
        assert "are running" in await call(service.url, None, "upsert", documents=[{"text": "Alpacas."}])
        assert len((await call(service.url, None, "list_indexes"))["indexes"]) == 1  # has the only slot of queries
        backend.may_encode.set()
        assert (await upsert)["passages_written"] == 1


async def test_a_client_that_leaves_ends_its_thought(tmp_path: Path) -> None:
    embedder, backend = slow_embedder(0.05)
    with T1VectorStore.open(tmp_path / "a", embedder) as store, live({"a": store}, mcp=True) as service:
        search = asyncio.ensure_future(call(service.url, None, "search", query=QUERY, think=True))
        await until_async(lambda: backend.generated > 1)
        search.cancel()
        await until_async(lambda: service.app.state.service.queries.running == 0)
        assert backend.generated < len(QUERY)


async def test_what_is_unfinished_when_the_service_stops_is_an_error(tmp_path: Path) -> None:
    embedder, backend = slow_embedder(0.05)
    with T1VectorStore.open(tmp_path / "a", embedder) as store, live({"a": store}, mcp=True, grace=0.1) as service:
        search = asyncio.ensure_future(call(service.url, None, "search", query=QUERY * 3, think=True))
        await until_async(lambda: backend.generated > 1)
        service.stop(wait=False)
        assert "the service is stopping" in await search


async def test_an_agents_documents_are_cut_as_the_others(tmp_path: Path) -> None:
    embedder = T1Embedder.fake(16, truncation="allow")
    with T1VectorStore.open(tmp_path / "a", embedder) as store, live({"a": store}, mcp=True) as service:
        with store.collection.loading(chunk_size=50, overlap=0):
            pass
        answer = await call(service.url, None, "upsert", documents=[{"text": "llama " * 30, "id": "x"}])
        assert answer["passages_written"] == len(list(store.scroll())) > 3


async def test_a_stream_without_events_is_not_opened(tmp_path: Path) -> None:
    """It would stay open, and delay the end of the service."""
    embedder = T1Embedder.fake(16)
    with T1VectorStore.open(tmp_path / "a", embedder) as store, live({"a": store}, mcp=True) as service:
        async with httpx.AsyncClient() as client:
            for method in ("GET", "DELETE"):
                answer = await client.request(method, f"{service.url}/mcp", headers={"Accept": "text/event-stream"})
                assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
