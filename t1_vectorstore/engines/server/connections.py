"""Connections to a Qdrant server: their settings, and the event loop of the asynchronous one."""

from __future__ import annotations

import asyncio
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from queue import Empty, SimpleQueue
from typing import Any, TypeVar
from urllib.parse import urlsplit

from qdrant_client import AsyncQdrantClient, QdrantClient
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, stop_before_delay
from tenacity.wait import wait_fixed

from t1_vectorstore.errors import StoreError, StoreUnavailable
from t1_vectorstore.network import explain_creation, is_loopback, proxy_for, proxy_hint, qdrant_port
from t1_vectorstore.options import Retry

_Result = TypeVar("_Result")
_GRPC_PORT = 6334
_PROBE_SECONDS = 1.0
_REACHABLE_SECONDS = 1.8


def client_settings(url: str, api_key: str | None, timeout: float, grpc_port: int | None = None) -> dict[str, Any]:
    """Return the arguments of a client, which uses gRPC if its port is given, and else REST."""
    local = is_loopback(url)
    return {
        "url": url,
        "port": qdrant_port(url),
        "grpc_port": grpc_port or _GRPC_PORT,
        "prefer_grpc": grpc_port is not None,
        "api_key": api_key,
        "timeout": math.ceil(timeout),
        "check_compatibility": False,  # warns of any other version; the features in use are checked by check_version
        "trust_env": not local,
        "grpc_options": {"grpc.enable_http_proxy": 0} if local else None,
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
    """Return a client, over gRPC if its settings say so.

    Raises:
        StoreError: A proxy or certificates that the environment names cannot be used.
    """
    if settings["prefer_grpc"]:
        note_grpc()
    try:
        return QdrantClient(**settings)
    except (ImportError, OSError, ValueError) as error:
        raise StoreError(f"{settings['url']} cannot be reached: {explain_creation(error)}") from error


def check_reachable(url: str, retry: Retry) -> None:
    """Connect to a server's port, or to that of its proxy, and refuse an address where nobody answers, within 2 s.

    Raises:
        StoreUnavailable: The host is unknown, or nothing listens there.
    """
    parts, proxy = urlsplit(url), proxy_for(url)
    host, port = parts.hostname or "", qdrant_port(url)
    if proxy is not None:
        host, port = proxy.host, proxy.port
    # A server that is starting refuses connections for a moment.
    stop = stop_before_delay(_REACHABLE_SECONDS) | stop_after_attempt(retry.attempts)
    refused = retry_if_exception_type(ConnectionRefusedError)
    attempts = Retrying(stop=stop, retry=refused, wait=wait_fixed(0.2), sleep=retry.sleep, reraise=True)
    deadline = time.monotonic() + _REACHABLE_SECONDS
    try:
        attempts(_connect_by, deadline, host, port)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise StoreUnavailable(
            f"{url} does not answer: {reason}{proxy_hint(url)}; is it running, and is the address right?"
        ) from error


def _connect_by(deadline: float, host: str, port: int) -> None:
    """Connect and disconnect. In a thread, since the look-up of a host has no time limit."""
    outcome: SimpleQueue[Exception | None] = SimpleQueue()
    seconds = max(deadline - time.monotonic(), 0.1)

    def attempt() -> None:
        try:
            with socket.create_connection((host, port), timeout=seconds):
                outcome.put(None)
        except Exception as error:  # noqa: BLE001 - raised in the caller's thread
            outcome.put(error)

    threading.Thread(target=attempt, name="t1-connect", daemon=True).start()
    try:
        error = outcome.get(timeout=seconds)
    except Empty:
        raise TimeoutError(f"no connection to {host}:{port} within {_REACHABLE_SECONDS:g} s") from None
    if isinstance(error, TimeoutError):
        raise TimeoutError(f"no connection to {host}:{port} within {_REACHABLE_SECONDS:g} s") from error
    if error is not None:
        raise error


def note_grpc() -> None:
    """Note that this process uses gRPC, through a client that is not this package's."""
    global _grpc_pid
    _grpc_pid = os.getpid()


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
