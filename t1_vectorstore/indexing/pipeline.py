"""Steps that work at the same time: while one batch is written, the next is encoded and the one after it is cut."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Generic, TypeVar

_Work = TypeVar("_Work")
_TICK = 0.1  # seconds after which a waiting caller looks up


class Stopped(Exception):
    """Raised in a step to leave it, since the pipeline has been stopped."""


class Pipeline(Generic[_Work]):
    """Takes each piece of work through the same steps, in order, each step in a thread of its own.

    No more than ``depth`` pieces are under way, which bounds the memory. The first exception of any step stops all of
    them at once, and is raised in the caller's thread by whatever it calls next. Leaving the ``with`` block ends all
    threads.
    """

    def __init__(self, steps: Sequence[Callable[[_Work], None]], *, depth: int) -> None:
        """Start nothing yet."""
        self._steps = [(step, ThreadPoolExecutor(1, f"t1-{step.__name__.strip('_')}")) for step in steps]
        self._depth = depth
        self._under_way: deque[Future[None]] = deque()
        self._stopped = threading.Event()
        self._failed = threading.Lock()
        self._error: BaseException | None = None

    def submit(self, work: _Work, meanwhile: Callable[[], None]) -> None:
        """Send a piece of work on its way, as soon as there is room.

        Args:
            work: is changed by the steps.
            meanwhile: called in this thread, again and again while it waits.
        """
        self.wait(self._depth - 1, meanwhile)
        before: Future[None] | None = None
        for step, thread in self._steps:
            before = thread.submit(self._run, step, work, before)
        if before is not None:
            self._under_way.append(before)

    def wait(self, most: int, meanwhile: Callable[[], None]) -> None:
        """Wait until at most so many pieces are under way."""
        while len(self._under_way) > most:
            done, _ = wait([self._under_way[0]], timeout=_TICK)
            meanwhile()
            self.raise_error()
            if done:
                self._under_way.popleft().result()

    def raise_error(self) -> None:
        """Raise the exception that a step has ended with, if one has."""
        if self._error is not None:
            raise self._error

    def go_on(self) -> None:
        """For a step that takes long: to be called now and then.

        Raises:
            Stopped: there is no use in going on.
        """
        if self._stopped.is_set():
            raise Stopped

    def __enter__(self) -> Pipeline[_Work]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        for _, thread in self._steps:
            thread.shutdown(wait=True, cancel_futures=True)

    def _run(self, step: Callable[[_Work], None], work: _Work, before: Future[None] | None) -> None:
        if before is not None:
            before.result()
        self.go_on()
        try:
            step(work)
        except BaseException as error:
            with self._failed:
                if not self._stopped.is_set():
                    self._error = error
                    self._stopped.set()
            raise
