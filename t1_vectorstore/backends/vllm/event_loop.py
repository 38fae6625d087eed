"""Run coroutines for callers that have no event loop, on a thread with one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from t1_vectorstore.errors import BackendError

T = TypeVar("T")


class EventLoopThread:
    """A thread with an event loop."""

    def __init__(self) -> None:
        """Start the thread."""
        started = threading.Event()

        async def live() -> None:
            self._loop = asyncio.get_running_loop()
            self._end = asyncio.Event()
            started.set()
            await self._end.wait()

        self._thread = threading.Thread(target=asyncio.run, args=(live(),), name="t1-engine", daemon=True)
        self._thread.start()
        started.wait()

    @property
    def running(self) -> bool:
        """Whether the thread is alive. It is not in a process that was forked from this one."""
        return self._thread.is_alive() and not self._end.is_set()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Wait for a coroutine, and cancel it if the waiting is interrupted, such as by Ctrl-C.

        Raises:
            BackendError: The thread is not running.
        """
        if not self.running:
            coroutine.close()
            raise BackendError("this embedder is closed, or was loaded by another process; load it again")
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Cancel the coroutines that still run, and stop the thread."""
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(timeout=10)


async def map_concurrently(
    function: Callable[[Any], Coroutine[Any, Any, T]], items: Sequence[Any], limit: int
) -> list[T]:
    """Call a function for each item, ``limit`` of them at a time, and return the results in order.

    The first failure cancels the other calls.
    """
    results: list[Any] = [None] * len(items)
    remaining = iter(enumerate(items))

    async def work() -> None:
        for index, item in remaining:
            results[index] = await function(item)

    tasks = [asyncio.ensure_future(work()) for _ in range(min(limit, len(items)))]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return results
