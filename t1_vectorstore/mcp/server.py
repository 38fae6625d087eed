"""The MCP server and its tools: search, get and list; with write access, upsert."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Annotated, Any, Literal, Protocol, TypeVar

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.transport_security import TransportSecuritySettings
from mcp_types import ToolAnnotations
from pydantic import Field, ValidationError
from starlette.types import ASGIApp

from t1_vectorstore import __version__
from t1_vectorstore.collection.lookup import explain_filter, find_chunks
from t1_vectorstore.errors import T1Error
from t1_vectorstore.indexing import LoadProgress, LoadReport
from t1_vectorstore.indexing.chunk_documents import chunk_sizes, chunker_for
from t1_vectorstore.mcp.answers import (
    FoundPassage,
    GetAnswer,
    IndexDescription,
    IndexList,
    NewDocument,
    RefusedDocument,
    SearchAnswer,
    StoredPassage,
    UpsertAnswer,
)
from t1_vectorstore.types import Document, Hit, SearchResult
from t1_vectorstore.vectorstore import T1VectorStore

MAX_HITS = 50
"""Most passages of one search; an agent has to read them all."""
MAX_DOCUMENTS = 1000
"""Most documents of one upsert, and most ids of one get."""
MAX_CHARACTERS = 2000
"""Characters of a passage in a search result. Chunks of this package have 1,600 by default."""
_SAMPLE = 20
"""Number of passages whose metadata the description of an index shows."""

_READS = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)
_WRITES = ToolAnnotations(
    read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False
)  # destructive: a document of the same id is replaced

_INSTRUCTIONS = (
    "Searches document indexes by meaning. The model may think about a query before it embeds it, so whole questions, "
    "also those that need a step of reasoning, work better than keywords. list_indexes names the indexes."
)

T = TypeVar("T")

IndexName = Annotated[
    str | None, Field(description="Name of the index, from list_indexes. May be left out if there is only one.")
]


class _Server(MCPServer[None]):
    """An MCP server that refuses arguments that a tool does not have, and says in one sentence what is wrong."""

    async def call_tool(self, name: str, arguments: dict[str, Any], *args: Any, **options: Any) -> Any:  # noqa: ANN401 - the library's
        """Check the arguments' names, and call the tool."""
        known = (self._tool_input_schema(name) or {}).get("properties")
        if known is not None and (unknown := [each for each in arguments if each not in known]):
            raise ToolError(f"unknown argument {unknown[0]!r}; {name} has {', '.join(known) or 'none'}")
        try:
            return await super().call_tool(name, arguments, *args, **options)
        except ToolError as error:
            if not isinstance(error.__cause__, ValidationError):
                raise
            problem = error.__cause__.errors(include_url=False)[0]
            place, given = ".".join(map(str, problem["loc"])), repr(problem["input"])[:200]
            raise ToolError(f"{place}: {problem['msg'].lower()}, got {given}") from error


async def _in_thread(function: Callable[[], T]) -> T:
    return await asyncio.to_thread(function)


@dataclass(frozen=True)
class Permitted:
    """What the caller of a tool may use.

    Attributes:
        stores: The stores, by name.
        write: Whether it may write to them.
        in_thread: Calls a function in a thread.
        on_progress: Called while documents are stored; an exception ends the load.
        on_search: Called with the index's name, the store and the result of a search.
    """

    stores: Mapping[str, T1VectorStore]
    write: bool
    in_thread: InThread = _in_thread
    on_progress: Callable[[LoadProgress], None] | None = None
    on_search: Callable[[str, T1VectorStore, SearchResult], None] = lambda *_: None


class InThread(Protocol):
    """Calls a function in a thread."""

    async def __call__(self, function: Callable[[], T], /) -> T:
        """Return what the function returns."""


class Caller(Protocol):
    """Does the work of a tool for the caller of the tool."""

    async def __call__(self, work: Callable[[Permitted], Awaitable[T]], *, stores_documents: bool = False) -> T:
        """Call ``work`` with what the caller may use."""


def create_mcp_server(
    stores: Mapping[str, T1VectorStore], *, write: bool = False, caller: Caller | None = None
) -> MCPServer[None]:
    """Return a server whose tools search the given stores.

    Args:
        stores: Open stores by the names under which agents see them. They stay the caller's to close.
        write: Add the tool ``upsert``. Stores that were opened for reading only still refuse it.
        caller: Limits each call to what its caller may use. Default: everything.

    Raises:
        ValueError: No store.
    """
    if not stores:
        raise ValueError("an MCP server needs at least one index, got none")
    server = _Server(
        name="t1-vectorstore",
        title="T1 vector store",
        version=__version__,
        instructions=_INSTRUCTIONS,
        log_level="WARNING",
        subscriptions=False,  # tools do not change, and a listener would hold a connection open for nothing
    )

    async def everything(work: Callable[[Permitted], Awaitable[T]], *, stores_documents: bool = False) -> T:
        return await work(Permitted(stores, write))

    tools = _Tools(caller or everything)
    server.add_tool(tools.search, annotations=_READS, title="Search by meaning")
    server.add_tool(tools.get, annotations=_READS, title="Read passages by id")
    server.add_tool(tools.list_indexes, annotations=_READS, title="List the indexes")
    if write:
        server.add_tool(tools.upsert, annotations=_WRITES, title="Store documents")
    return server


def http_app(server: MCPServer[None], path: str, *, max_body_bytes: int) -> ASGIApp:
    """Return an ASGI application that serves a server at a path, for a service that checks hosts and keys itself.

    Each request stands alone, so that what its caller may use applies to all that it does. The application works inside
    of ``server.session_manager.run()``.
    """
    return server.streamable_http_app(
        streamable_http_path=path,
        stateless_http=True,
        json_response=True,
        max_request_body_size=max_body_bytes,
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )


class _Tools:
    """The tools. The docstrings of the methods are the descriptions that agents read."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def search(
        self,
        query: Annotated[str, Field(description="What to look for: a question or a description, in any words.")],
        index: IndexName = None,
        limit: Annotated[int, Field(ge=1, le=MAX_HITS, description="Maximum number of passages.")] = 5,
        offset: Annotated[int, Field(ge=0, le=10_000, description="Number of best passages to skip.")] = 0,
        filter: Annotated[
            dict[str, Any] | None,
            Field(
                description='Condition on the metadata, such as {"country": "France", "year": {"gte": 2000}}. '
                "Operators: eq, ne, in, not_in, gt, gte, lt, lte, text. All conditions must hold; a list matches any "
                "of its values."
            ),
        ] = None,
        think: Annotated[
            bool | Literal["auto"] | None,
            Field(
                description="Whether the model thinks about the query first, which takes longer and helps with "
                "questions that need reasoning; 'auto' thinks only if the search without a thought is unsure. Default: "
                "the model's own choice."
            ),
        ] = None,
        include_thoughts: Annotated[bool, Field(description="Return the model's thoughts about the query.")] = False,
    ) -> SearchAnswer:
        """Search an index by meaning and return the best passages."""

        async def work(permitted: Permitted) -> tuple[str, SearchResult, list[str]]:
            name, store = _choose(permitted, index)
            result = await store.asearch(query, limit=limit, offset=offset, filter=filter, think=think)
            permitted.on_search(name, store, result)
            if result.hits or not filter:
                return name, result, []
            return name, result, await permitted.in_thread(partial(explain_filter, store.collection, filter))

        async with _tool_errors():
            name, result, warnings = await self._caller(work)
        thoughts = [thought.text for thought in result.thoughts] if include_thoughts else None
        passages = [_found(hit) for hit in result.hits]
        return SearchAnswer(index=name, passages=passages, thoughts=thoughts, warnings=warnings)

    async def get(
        self,
        ids: Annotated[
            list[str],
            Field(min_length=1, max_length=MAX_DOCUMENTS, description="Ids of passages or of whole documents."),
        ],
        index: IndexName = None,
    ) -> GetAnswer:
        """Return stored passages by id; the id of a document returns all its passages."""

        async def work(permitted: Permitted) -> GetAnswer:
            _, store = _choose(permitted, index)
            return await permitted.in_thread(partial(_passages, store, ids))

        async with _tool_errors():
            return await self._caller(work)

    async def list_indexes(self) -> IndexList:
        """List the indexes that can be searched, with their sizes and metadata keys."""

        async def work(permitted: Permitted) -> IndexList:
            descriptions = [
                await permitted.in_thread(partial(_describe, name, store, write=permitted.write))
                for name, store in permitted.stores.items()
            ]
            return IndexList(indexes=descriptions)

        async with _tool_errors():
            return await self._caller(work)

    async def upsert(
        self,
        documents: Annotated[list[NewDocument], Field(min_length=1, max_length=MAX_DOCUMENTS)],
        index: IndexName = None,
    ) -> UpsertAnswer:
        """Store documents, or replace those with the same ids. Every write is read back before it is reported."""

        async def work(permitted: Permitted) -> LoadReport:
            if not permitted.write:
                raise ValueError("the API key may not write; use one that was created with --write")
            _, store = _choose(permitted, index)
            new = [Document(document.text, document.id, document.metadata) for document in documents]

            def load() -> LoadReport:
                size, overlap = chunk_sizes(store.collection)
                chunker = chunker_for(store.embedder, size=size, overlap=overlap)
                return store.add(new, chunker=chunker, max_reported=MAX_DOCUMENTS, on_progress=permitted.on_progress)

            return await permitted.in_thread(load)

        async with _tool_errors():
            report = await self._caller(work, stores_documents=True)
        return UpsertAnswer(
            passages_written=report.verified,
            passages_unchanged=report.unchanged,
            refused=[RefusedDocument(id=failure.id, reason=failure.reason) for failure in report.failures],
        )


def _choose(permitted: Permitted, index: str | None) -> tuple[str, T1VectorStore]:
    """Return the name and the store of an index."""
    stores = permitted.stores
    names = ", ".join(map(repr, stores)) or "none"
    if index is None:
        if len(stores) != 1:
            raise ValueError(f"choose an index with index=; there are {names}")
        return next(iter(stores.items()))
    if index not in stores:
        raise ValueError(f"there is no index {index!r}; there are {names}")
    return index, stores[index]


@asynccontextmanager
async def _tool_errors() -> AsyncIterator[None]:
    """Turn this package's errors into tool errors, whose messages the agent reads; others are not shown to it."""
    try:
        yield
    except (T1Error, ValueError, TypeError) as error:
        raise ToolError(str(error)) from error


def _found(hit: Hit) -> FoundPassage:
    text = hit.text[:MAX_CHARACTERS]
    return FoundPassage(
        id=hit.id,
        document_id=hit.document_id,
        score=hit.score,
        text=text,
        left_out_characters=len(hit.text) - len(text),
        metadata=dict(hit.metadata),
    )


def _passages(store: T1VectorStore, ids: list[str]) -> GetAnswer:
    chunks, missing = find_chunks(store.collection, ids)
    passages = [
        StoredPassage(
            id=chunk.id,
            document_id=chunk.document_id,
            text=chunk.text,
            start=chunk.start,
            metadata=dict(chunk.metadata),
        )
        for chunk in chunks
    ]
    return GetAnswer(passages=passages, missing=missing)


def _describe(name: str, store: T1VectorStore, *, write: bool) -> IndexDescription:
    examples: dict[str, Any] = {}
    for chunk in islice(store.scroll(batch=_SAMPLE), _SAMPLE):
        for key, value in chunk.metadata.items():
            examples.setdefault(key, value)
    collection = store.collection
    return IndexDescription(
        name=name,
        passages=store.count(),
        model=store.embedder.identity.model,
        thinks=store.embedder.spec.thinks,
        by_words=collection.hybrid,
        writable=write and not collection.read_only,
        metadata_examples=examples,
    )
