"""Queries to a server without a thread for each: an event loop in one thread, for as long as the engine is open.

An asynchronous client belongs to one event loop for life, and callers' loops come and go. With a loop of its own it
serves them all, keeps its connections, and can be closed from anywhere.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from qdrant_client import AsyncQdrantClient

from t1_vectorstore.errors import StoreError

_Result = TypeVar("_Result")


class AsyncConnection:
    """An asynchronous client on its own loop."""

    def __init__(self, connect: Callable[[], AsyncQdrantClient]) -> None:
        """Start the loop's thread; ``connect`` makes the client there."""
        self._closing = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="t1-qdrant", daemon=True)
        self._thread.start()
        self._client = asyncio.run_coroutine_threadsafe(_made(connect), self._loop).result()

    async def call(self, use: Callable[[AsyncQdrantClient], Coroutine[Any, Any, _Result]]) -> _Result:
        """Do something with the client, and wait for it on the caller's loop.

        Raises:
            StoreError: the connection was closed meanwhile.
        """
        try:
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(use(self._client), self._loop))
        except asyncio.CancelledError:
            if self._closing:
                raise StoreError("the connection was closed while a search was under way") from None
            raise

    def close(self) -> None:
        """Give up what is under way, close the client and end the thread."""
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


async def _made(connect: Callable[[], AsyncQdrantClient]) -> AsyncQdrantClient:
    return connect()
