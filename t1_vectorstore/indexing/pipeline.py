"""Run the steps of a load at the same time: while one batch is written, the next one is encoded."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Generic, TypeVar

from typing_extensions import Self

_Work = TypeVar("_Work")
_Item = TypeVar("_Item")
_POLL_SECONDS = 0.1


class Stopped(Exception):
    """Raised inside a step to end it, because the pipeline was stopped."""


class Pipeline(Generic[_Work]):
    """Passes each work item through the same steps, in order, each step in its own thread.

    At most ``depth`` items are in progress, which bounds the memory. The first exception of any step stops all of them,
    and is raised in the caller's thread by the next call. Leaving the ``with`` block ends all threads.
    """

    def __init__(self, steps: Sequence[Callable[[_Work], None]], *, depth: int) -> None:
        self._steps = [(step, ThreadPoolExecutor(1, f"t1-{step.__name__.strip('_')}")) for step in steps]
        self._depth = depth
        self._in_progress: deque[Future[None]] = deque()
        self._stopped = threading.Event()
        self._error_lock = threading.Lock()
        self._error: BaseException | None = None

    def submit(self, work: _Work, meanwhile: Callable[[], None]) -> None:
        """Submit a work item, which the steps change in place, as soon as fewer than ``depth`` are in progress.

        ``meanwhile`` is called in this thread, several times a second, while it waits.
        """
        # Each step waits for the item's previous step, and its single thread for the item before this one, so every
        # step sees the items in order.
        self.wait(self._depth - 1, meanwhile)
        previous: Future[None] | None = None
        for step, executor in self._steps:
            previous = executor.submit(self._run, step, work, previous)
        if previous is not None:
            self._in_progress.append(previous)

    def wait(self, limit: int, meanwhile: Callable[[], None]) -> None:
        """Wait until at most ``limit`` items are in progress."""
        while len(self._in_progress) > limit:
            # (No variable is a future: an error's traceback has the variables, and a future has the error.)
            done = bool(wait([self._in_progress[0]], timeout=_POLL_SECONDS).done)
            meanwhile()
            self._raise_error()
            if done:
                self._in_progress.popleft().result()

    def watch(self, items: Iterable[_Item]) -> Iterator[_Item]:
        """Yield the items, and raise the exception of a step as soon as there is one."""
        for item in items:
            self._raise_error()
            yield item

    def check_stopped(self) -> None:
        """Raise ``Stopped`` if the pipeline was stopped. A long step calls this now and then."""
        if self._stopped.is_set():
            raise Stopped

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for _step, executor in self._steps:
            executor.shutdown(wait=True, cancel_futures=True)
        # The steps may refer to this object. Without this cycle, whatever they hold is freed with its last reference.
        self._steps.clear()
        self._in_progress.clear()
        self._error = None

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self, step: Callable[[_Work], None], work: _Work, previous: Future[None] | None) -> None:
        if previous is not None:
            try:
                previous.result()
            finally:
                previous = None
        self.check_stopped()
        try:
            step(work)
        except BaseException as error:
            # Keep the first error only: those that follow are consequences of stopping.
            with self._error_lock:
                if not self._stopped.is_set():
                    self._error = error
                    self._stopped.set()
            raise
