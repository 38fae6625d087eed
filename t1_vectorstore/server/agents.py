"""``/mcp``: the MCP server of the service's indexes, over streamable HTTP, with the service's keys and queues."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from typing import TypeVar

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from t1_vectorstore.errors import BackendError
from t1_vectorstore.mcp import Permitted, create_mcp_server, http_app
from t1_vectorstore.server.errors import ClientGone, Refused
from t1_vectorstore.server.keys import Key
from t1_vectorstore.server.service import Service
from t1_vectorstore.types import SearchResult
from t1_vectorstore.vectorstore import T1VectorStore

PATH = "/mcp"
T = TypeVar("T")
R = TypeVar("R")
_request: ContextVar[Request] = ContextVar("request")


class Agents:
    """The MCP server as an ASGI application.

    Attributes:
        route: Its route.
    """

    def __init__(self, service: Service) -> None:
        """Serve the indexes of a service.

        Raises:
            ValueError: The service has no index.
        """
        stores = service.catalog.stores
        write = not all(store.collection.read_only for store in stores.values())

        async def call(work: Callable[[Permitted], Awaitable[T]], *, stores_documents: bool = False) -> T:
            request = _request.get()
            key: Key | None = getattr(request.state, "key", None)
            if key is None and service.options.keys is not None:
                raise ValueError("an API key is needed")
            if key is not None and "read" not in key.scopes:
                raise ValueError(f"the API key {key.name!r} may not read")
            catalog = service.catalog if key is None else service.catalog.for_key(key)
            slots = service.documents if stores_documents else service.queries

            async def in_thread(function: Callable[[], R]) -> R:
                return await slots.in_thread(lambda _: function())

            def on_search(name: str, store: T1VectorStore, result: SearchResult) -> None:
                service.metrics.count_search(result, store.embedder)
                tokens = sum(thought.tokens for thought in result.thoughts)
                request.state.log.update(index=name, hits=len(result.hits), thought_tokens=tokens)

            permitted = Permitted(
                catalog.stores,
                write and (key is None or "write" in key.scopes),
                in_thread,
                service.work.lifecycle.check,
                on_search,
            )
            try:
                return await service.work.run(request, slots, lambda: work(permitted))
            except Refused as error:
                raise BackendError(error.detail) from error
            except ClientGone as error:
                raise BackendError("the client closed the connection") from error

        self._server = create_mcp_server(stores, write=write, caller=call)
        self._app = http_app(self._server, PATH, max_body_bytes=service.options.max_body_bytes)
        self.route = Route(PATH, self)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, as ASGI defines it.

        Raises:
            HTTPException: It is not a POST. Each request stands alone, so there is no session to end, and a stream of
                events (GET) would stay empty, and open.
        """
        if scope["method"] != "POST":
            raise HTTPException(405, f"{PATH} answers POST, not {scope['method']}", {"Allow": "POST"})
        token = _request.set(Request(scope, receive))  # a tool asks it whether the client has left
        try:
            await self._app(scope, receive, send)
        finally:
            _request.reset(token)

    def running(self) -> AbstractAsyncContextManager[None]:
        """Return the block in which requests are handled."""
        return self._server.session_manager.run()
