"""Connections to a Qdrant server: their settings, and the event loop of the asynchronous one."""

from __future__ import annotations

import asyncio
import math
import os
import socket
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar
from urllib.parse import urlsplit

from qdrant_client import AsyncQdrantClient, QdrantClient

from t1_vectorstore.errors import StoreError

_Result = TypeVar("_Result")
_GRPC_PORT = 6334
_PROBE_SECONDS = 1.0


def client_settings(url: str, api_key: str | None, timeout: float, grpc_port: int | None = None) -> dict[str, Any]:
    """Return the arguments of a client, which uses gRPC if its port is given, and else REST."""
    parts = urlsplit(url)
    return {
        "url": url,
        "port": parts.port or (443 if parts.scheme == "https" else 6333),
        "grpc_port": grpc_port or _GRPC_PORT,
        "prefer_grpc": grpc_port is not None,
        "api_key": api_key,
        "timeout": math.ceil(timeout),
        "check_compatibility": False,  # warns of any other version; the features in use are checked by check_version
    }


def listening_grpc_port(url: str, grpc_port: int | None) -> int | None:
    """Return the server's gRPC port if something listens there; by default it is the port after the one in the URL.

    In a process that was forked after its parent used gRPC, the answer is None.
    """
    if not grpc_works():
        return None
    parts = urlsplit(url)
    port = grpc_port or (parts.port + 1 if parts.port and parts.port != 443 else _GRPC_PORT)
    try:
        with socket.create_connection((parts.hostname or "", port), timeout=_PROBE_SECONDS):
            return port
    except OSError:
        return None


_inherited: list[object] = []
"""Connections of the parent of this forked process. They are kept as they are, since even closing them would disturb
the parent, or wait for a thread that does not exist here."""
_grpc_pid: int | None = None
"""The process that has opened a connection over gRPC. A process that is forked from it cannot use gRPC."""


def connect(settings: dict[str, Any]) -> QdrantClient:
    """Return a client, over gRPC if its settings say so."""
    global _grpc_pid
    if settings["prefer_grpc"]:
        _grpc_pid = os.getpid()
    return QdrantClient(**settings)


def grpc_works() -> bool:
    """Return whether this process can use gRPC: its library does not survive a fork, also in new connections."""
    return _grpc_pid in (None, os.getpid())


def abandon(*connections: object) -> None:
    """Keep inherited connections for ever, unused."""
    _inherited.extend(connections)


class AsyncConnection:
    """An asynchronous client with an event loop in a thread of its own.

    An asynchronous client belongs to one event loop, and callers' loops come and go. With its own loop it serves all of
    them without a thread for each query, keeps its connections, and can be closed from any thread.
    """

    def __init__(self, connect: Callable[[], AsyncQdrantClient]) -> None:
        """Start the thread of the loop, and create the client there."""

        async def connected() -> AsyncQdrantClient:
            return connect()

        self._closing = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="t1-qdrant", daemon=True)
        self._thread.start()
        self._client = asyncio.run_coroutine_threadsafe(connected(), self._loop).result()

    async def call(self, use: Callable[[AsyncQdrantClient], Coroutine[Any, Any, _Result]]) -> _Result:
        """Use the client, and wait for the result on the caller's loop.

        Raises:
            StoreError: The connection was closed meanwhile.
        """
        try:
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(use(self._client), self._loop))
        except asyncio.CancelledError:
            if self._closing:
                raise StoreError("the connection was closed while a search was under way") from None
            raise

    def close(self) -> None:
        """Cancel the calls under way, close the client and end the thread."""
        self._closing = True
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        under_way = asyncio.all_tasks() - {asyncio.current_task()}
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        await self._client.close()
