"""An event loop on a thread of its own: coroutines for callers that have no loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from t1_vectorstore.errors import BackendError

T = TypeVar("T")


class EventLoop:
    """An event loop on a thread of its own, for callers that have none."""

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
        """Whether the thread lives, in this process."""
        return self._thread.is_alive() and not self._end.is_set()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Wait for a coroutine; whatever ends the waiting, Ctrl-C for one, cancels it.

        Raises:
            BackendError: the loop is closed, or its thread is in the process from which this one was forked.
        """
        if not self.running:
            coroutine.close()
            raise BackendError("this embedder is closed, or is another process's; load it again")
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Stop the thread, and what is still under way on it."""
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(timeout=10)


async def each(work: Callable[[Any], Coroutine[Any, Any, T]], items: Sequence[Any], at_once: int) -> list[T]:
    """The results in order; the first failure ends what is still under way."""
    results: list[Any] = [None] * len(items)
    ahead = iter(enumerate(items))

    async def take() -> None:
        for index, item in ahead:
            results[index] = await work(item)

    tasks = [asyncio.ensure_future(take()) for _ in range(min(at_once, len(items)))]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return results
