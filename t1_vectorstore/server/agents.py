"""``/mcp``: the MCP server of the service's indexes, over streamable HTTP, with the service's keys and queues."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar

from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from t1_vectorstore.errors import BackendError
from t1_vectorstore.mcp import Permitted, create_mcp_server, http_app
from t1_vectorstore.server.errors import Refused
from t1_vectorstore.server.keys import Key
from t1_vectorstore.server.service import Service

PATH = "/mcp"
_key: ContextVar[Key | None] = ContextVar("key")


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

        @asynccontextmanager
        async def caller() -> AsyncIterator[Permitted]:
            key = _key.get()
            if key is not None and "read" not in key.scopes:
                raise ValueError(f"the API key {key.name!r} may not read")
            catalog = service.catalog if key is None else service.catalog.for_key(key)
            try:
                async with service.queries.take():
                    yield Permitted(catalog.stores, write and (key is None or "write" in key.scopes))
            except Refused as error:
                raise BackendError(error.detail) from error

        self._server = create_mcp_server(stores, write=write, caller=caller)
        self._app = http_app(self._server, PATH, max_body_bytes=service.options.max_body_bytes)
        self.route = Route(PATH, self)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, as ASGI defines it."""
        token = _key.set(scope.get("state", {}).get("key"))
        try:
            await self._app(scope, receive, send)
        finally:
            _key.reset(token)

    def running(self) -> AbstractAsyncContextManager[None]:
        """Return the block in which requests are handled."""
        return self._server.session_manager.run()
