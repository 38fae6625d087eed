"""Bounded work: how many requests run and wait, and when a running one is given up."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from fastapi import Request

from t1_vectorstore.server.errors import ClientGone, Refused

T = TypeVar("T")

_REMEMBERED = 32
"""Number of finished requests whose mean duration estimates that of the next ones."""
STOPPED = "the service is stopping, and the request was not finished; send it again"


class Lifecycle:
    """Whether the service answers, finishes or gives up its requests.

    Attributes:
        stopping: Set when the service begins to stop: running requests finish, new ones are refused.
        expired: Set when running requests are given up; for threads.
        running: Number of requests in progress.
    """

    def __init__(self) -> None:
        self.stopping = False
        self.expired = threading.Event()
        self.running = 0
        self._given_up = asyncio.Event()

    def give_up(self) -> None:
        """Give up the running requests; call it in the event loop."""
        self.expired.set()
        self._given_up.set()

    def check(self, _: object = None) -> None:
        """End work in a thread, such as a load after each of its steps, if running requests are given up.

        Raises:
            Refused: They are.
        """
        if self.expired.is_set():
            raise Refused(503, STOPPED, code="stopping", retry_after=1)

    async def until_given_up(self) -> None:
        """Wait until running requests are given up."""
        await self._given_up.wait()


class Slots:
    """Runs requests of one kind: some at a time, some waiting in order, and none beyond that."""

    def __init__(self, name: str, running: int, waiting: int) -> None:
        """Allow numbers of running and waiting requests; ``name`` is for messages, metrics and threads."""
        self.name = name
        self.running = 0
        self.waiting = 0
        self._most_running, self._most_waiting = running, waiting
        self._free = asyncio.Semaphore(running)
        self._pool = ThreadPoolExecutor(running, f"t1-{name}")
        self._seconds: deque[float] = deque(maxlen=_REMEMBERED)

    @asynccontextmanager
    async def take(self) -> AsyncIterator[None]:
        """Wait for a slot, and hold it for the length of an ``async with`` block.

        Raises:
            Refused: The queue is full.
        """
        if self._free.locked() and self.waiting >= self._most_waiting:
            message = f"{self.running} requests with {self.name} are running and {self.waiting} are waiting; try later"
            raise Refused(429, message, code="queue_full", retry_after=self.expected_wait())
        self.waiting += 1
        try:
            await self._free.acquire()
        finally:
            self.waiting -= 1
        self.running += 1
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            yield
            self._seconds.append(loop.time() - began)
        finally:
            self.running -= 1
            self._free.release()

    def expected_wait(self) -> float:
        """Return the seconds in which the waiting requests are likely to be answered, by the latest durations."""
        mean = sum(self._seconds) / len(self._seconds) if self._seconds else 1.0
        return mean * (self.waiting + 1) / self._most_running

    async def in_thread(self, function: Callable[[threading.Event], T]) -> T:
        """Call a function in one of the threads of these slots, inside of ``take``.

        The function's argument is set when its result is not needed any more. The slot is held until it returns.
        """
        unneeded = threading.Event()
        call = asyncio.get_running_loop().run_in_executor(self._pool, function, unneeded)
        try:
            return await asyncio.shield(call)
        except asyncio.CancelledError:
            unneeded.set()
            with suppress(Exception):
                await call
            raise

    def close(self) -> None:
        """Start no further threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class Work:
    """Runs the work of requests, and gives it up if nobody waits for it any more."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self.lifecycle = lifecycle
        self._unfinished: set[asyncio.Future[Any]] = set()

    async def run(self, request: Request, slots: Slots, work: Callable[[], Awaitable[T]]) -> T:
        """Do work in a slot, and return its result. It is cancelled if the client leaves.

        Raises:
            Refused: The queue is full, or the service stops before the work is done.
            ClientGone: The client closed the connection.
        """

        async def in_slot() -> T:
            async with slots.take():
                return await work()

        working = asyncio.ensure_future(in_slot())
        leaving = asyncio.ensure_future(_until_disconnected(request))
        stopping = asyncio.ensure_future(self.lifecycle.until_given_up())
        try:
            await asyncio.wait({working, leaving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            if stopping.done():
                raise Refused(503, STOPPED, code="stopping", retry_after=1)
            raise ClientGone
        finally:
            leaving.cancel()
            stopping.cancel()
            if not working.done():
                self._forget(working)

    def _forget(self, working: asyncio.Future[T]) -> None:
        """Cancel work whose result nobody needs; its slot is free when it has ended."""
        working.cancel()
        self._unfinished.add(working)  # asyncio holds tasks by weak references only

        def ended(task: asyncio.Future[T]) -> None:
            self._unfinished.discard(task)
            if not task.cancelled():
                task.exception()  # otherwise asyncio logs that nobody has seen it

        working.add_done_callback(ended)


async def _until_disconnected(request: Request) -> None:
    """Wait until the client closes the connection. The body has been read, so nothing else arrives."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
