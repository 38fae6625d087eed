"""MCP over HTTP, as a part of the service: the official client, the service's keys and its checks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from t1_vectorstore import Document, T1Embedder, T1VectorStore
from t1_vectorstore.server.keys import KeyFile, new_key
from tests.service.live import live


async def call(url: str, key: str | None, tool: str, **arguments: Any) -> Any:
    """Return the answer of a tool, or the text of its error."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with (
        httpx.AsyncClient(headers=headers) as http,
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
