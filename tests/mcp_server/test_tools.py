"""The MCP tools, called by the official client on the bundled model and the embedded engine."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from mcp import Client, StdioServerParameters, stdio_client

from t1_vectorstore import Document, T1Embedder, T1VectorStore
from t1_vectorstore.mcp import create_mcp_server
from t1_vectorstore.mcp.server import MAX_CHARACTERS

LONG = " ".join(f"Sentence {number} is about the lakes of Finland." for number in range(100))


@pytest.fixture(scope="module")
def embedder() -> T1Embedder:
    return T1Embedder.load()


@pytest.fixture
def store(embedder: T1Embedder, tmp_path: Path) -> Iterator[T1VectorStore]:
    with T1VectorStore.open(tmp_path / "index", embedder) as opened:
        opened.add(
            [
                Document("Berlin is the capital of Germany.", "berlin", {"country": "Germany", "year": 1990}),
                Document("Oslo is the capital of Norway.", "oslo", {"country": "Norway", "year": 1814}),
                Document(LONG, "lakes", {"country": "Finland"}),
            ]
        )
        yield opened


async def call(store: T1VectorStore, tool: str, arguments: dict[str, Any], *, write: bool = False) -> Any:
    """Return the answer of a tool, after checking it against the schema that the server states for it."""
    async with Client(create_mcp_server({"docs": store}, write=write)) as client:
        [described] = [each for each in (await client.list_tools()).tools if each.name == tool]
        result = await client.call_tool(tool, arguments)
    if result.is_error:
        return result.content[0].text
    assert described.output_schema is not None
    Draft202012Validator(described.output_schema).validate(result.structured_content)
    assert json.loads(result.content[0].text) == result.structured_content  # for clients that read only text
    return result.structured_content


async def test_a_search_returns_passages_like_the_store(store: T1VectorStore) -> None:
    answer = await call(store, "search", {"query": "the capital of germany", "limit": 2, "include_thoughts": True})
    expected = store.search("the capital of germany", limit=2)
    assert [passage["id"] for passage in answer["passages"]] == [hit.id for hit in expected.hits]
    assert [passage["score"] for passage in answer["passages"]] == [hit.score for hit in expected.hits]
    assert answer["thoughts"] == [thought.text for thought in expected.thoughts]
    assert answer["index"] == "docs"


async def test_thoughts_are_only_returned_on_request_and_can_be_turned_off(store: T1VectorStore) -> None:
    assert (await call(store, "search", {"query": "the capital of germany"}))["thoughts"] is None
    unthought = await call(store, "search", {"query": "germany", "think": False, "include_thoughts": True})
    assert unthought["thoughts"] == []


async def test_a_search_can_be_filtered_and_continued(store: T1VectorStore) -> None:
    recent = await call(store, "search", {"query": "capital", "filter": {"year": {"gte": 1900}}})
    assert [passage["document_id"] for passage in recent["passages"]] == ["berlin"]
    first = await call(store, "search", {"query": "capital", "limit": 1})
    second = await call(store, "search", {"query": "capital", "limit": 1, "offset": 1})
    assert first["passages"][0]["id"] != second["passages"][0]["id"]


async def test_a_long_passage_says_how_much_is_left_out(embedder: T1Embedder) -> None:
    text = "word " * 1000
    with T1VectorStore.open(":memory:", embedder) as store:
        from t1_vectorstore.indexing.chunking import Chunker

        store.add([Document(text, "long")], chunker=Chunker(10_000))
        [passage] = (await call(store, "search", {"query": "word"}))["passages"]
        assert len(passage["text"]) == MAX_CHARACTERS
        [whole] = (await call(store, "get", {"ids": [passage["id"]]}))["passages"]
        assert len(whole["text"]) == MAX_CHARACTERS + passage["left_out_characters"]


async def test_get_returns_passages_and_whole_documents_in_order(store: T1VectorStore) -> None:
    answer = await call(store, "get", {"ids": ["lakes", "oslo", "nothing", "lakes#chunk-1"]})
    assert answer["missing"] == ["nothing"]
    assert [passage["id"] for passage in answer["passages"]][-2:] == ["oslo", "lakes#chunk-1"]
    lakes = answer["passages"][:-2]
    assert len(lakes) > 1
    assert [passage["id"] for passage in lakes] == [f"lakes#chunk-{number}" for number in range(len(lakes))]
    assert all(LONG[passage["start"] :].startswith(passage["text"]) for passage in lakes)


async def test_the_indexes_are_described(store: T1VectorStore) -> None:
    [described] = (await call(store, "list_indexes", {}))["indexes"]
    assert described["name"] == "docs"
    assert described["passages"] == store.count()
    assert described["model"] == "t1-mini"
    assert described["thinks"]
    assert not described["writable"]
    assert set(described["metadata_examples"]) == {"country", "year"}


async def test_without_write_there_is_no_tool_that_writes(store: T1VectorStore) -> None:
    async with Client(create_mcp_server({"docs": store})) as client:
        tools = (await client.list_tools()).tools
        assert {tool.name for tool in tools} == {"search", "get", "list_indexes"}
        assert all(tool.annotations is not None and tool.annotations.read_only_hint for tool in tools)
        refused = await client.call_tool("upsert", {"documents": [{"text": "x"}]})
    assert refused.is_error
    assert store.count() == len(list(store.scroll()))


async def test_upsert_stores_the_good_documents_and_names_the_others(store: T1VectorStore) -> None:
    documents = [{"text": "Rome is the capital of Italy.", "id": "rome"}, {"text": "", "id": "empty"}]
    answer = await call(store, "upsert", {"documents": documents}, write=True)
    assert answer == {
        "passages_written": 1,
        "passages_unchanged": 0,
        "refused": [{"id": "empty", "reason": "the text is empty"}],
    }
    assert store.get(["rome"])["rome"].text == "Rome is the capital of Italy."


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"query": ""}, "the query is empty"),
        ({"query": "x", "index": "other"}, "there is no index 'other'; there are 'docs'"),
        ({"query": "x", "limit": 1000}, "less than or equal to 50"),
        ({"query": "x", "filter": {"year": {"above": 3}}}, "no operator 'above'"),
        ({"query": "x", "think": "often"}, "think"),
        ({}, "query: field required"),
        ({"query": "x", "thoughts": True}, "unknown argument 'thoughts'; search has query, index, limit"),
        ({"query": "x", "limit": -1}, "limit: input should be greater than or equal to 1, got -1"),
    ],
)
async def test_a_mistake_is_explained_to_the_agent(
    store: T1VectorStore, arguments: dict[str, Any], message: str
) -> None:
    assert message in await call(store, "search", arguments)


async def test_of_several_indexes_one_has_to_be_chosen(store: T1VectorStore, embedder: T1Embedder) -> None:
    with T1VectorStore.open(":memory:", embedder) as other:
        async with Client(create_mcp_server({"docs": store, "notes": other})) as client:
            unclear = await client.call_tool("search", {"query": "capital"})
            assert unclear.is_error
            assert "choose an index with index=; there are 'docs', 'notes'" in unclear.content[0].text
            chosen = await client.call_tool("search", {"query": "capital", "index": "notes"})
            assert chosen.structured_content is not None
            assert chosen.structured_content["passages"] == []


def test_a_server_needs_an_index() -> None:
    with pytest.raises(ValueError, match="needs at least one index"):
        create_mcp_server({})


async def test_every_schema_is_valid_and_described(store: T1VectorStore) -> None:
    """What the inspector checks: valid JSON schemas, and a description of each tool and each argument."""
    async with Client(create_mcp_server({"docs": store}, write=True)) as client:
        tools = (await client.list_tools()).tools
    for tool in tools:
        assert tool.description
        assert tool.title
        for schema in (tool.input_schema, tool.output_schema):
            assert schema is not None
            Draft202012Validator.check_schema(schema)
            assert schema["type"] == "object"
        for name, argument in tool.input_schema["properties"].items():
            assert "description" in argument or name == "documents", (tool.name, name)


@pytest.mark.process
async def test_the_command_serves_on_standard_input(tmp_path: Path, embedder: T1Embedder) -> None:
    for name in ("first", "second"):
        with T1VectorStore.open(tmp_path / name, embedder) as store:
            store.add([Document(f"The {name} document.", name)])
    command = [str(Path(sys.executable).with_name("t1")), "mcp", str(tmp_path / "first"), f"b={tmp_path / 'second'}"]
    parameters = StdioServerParameters(command=command[0], args=command[1:], env=dict(os.environ))
    async with Client(stdio_client(parameters)) as client:
        indexes = (await client.call_tool("list_indexes", {})).structured_content
        assert indexes is not None
        assert [index["name"] for index in indexes["indexes"]] == ["first", "b"]
        found = (await client.call_tool("search", {"query": "document", "index": "b"})).structured_content
        assert found is not None
        assert found["passages"][0]["id"] == "second"


async def test_a_filter_that_finds_nothing_is_explained(store: T1VectorStore) -> None:
    answer = await call(store, "search", {"query": "a capital", "filter": {"land": "Norway"}})
    assert (answer["passages"], answer["warnings"]) == ([], ["no document has the metadata field 'land'"])
