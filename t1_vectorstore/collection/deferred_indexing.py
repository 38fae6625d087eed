"""Bulk loads: indexing is deferred while they run, and ``settle`` waits until the engine has caught up."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from t1_vectorstore.engines import Engine
from t1_vectorstore.errors import StoreError
from t1_vectorstore.forks import ForkSafeLock
from t1_vectorstore.types import Indexing

_FIRST_WAIT, _LONGEST_WAIT = 0.05, 1.0  # seconds between two reads of the optimizer's state


class DeferredIndexing:
    """Defers and restores the indexing of one collection, once for all overlapping bulk loads."""

    def __init__(self, engine: Engine, location: str) -> None:
        """Defer the indexing of ``engine``; ``location`` names it in errors."""
        self._engine = engine
        self._location = location
        self._lock = ForkSafeLock()
        self._loads = 0

    @contextmanager
    def bulk(self) -> Iterator[None]:
        """See ``Collection.bulk``."""
        with self._lock:
            if not self._loads:
                self._engine.defer_indexing()
            self._loads += 1
        try:
            yield
        except BaseException:
            try:
                self._end()
            except StoreError as error:  # the load's own error is raised, and this one is a warning
                remedy = "the next load restores it, as do restore_indexing() and t1 optimize"
                warnings.warn(f"{self._location} still defers its indexing ({error}); {remedy}", stacklevel=3)
            raise
        self._end()

    def settle(self, timeout: float | None, on_progress: Callable[[Indexing], None] | None) -> Indexing | None:
        """See ``Collection.settle``."""
        started, wait = time.monotonic(), _FIRST_WAIT
        while (found := self._engine.indexing()) is not None:
            if on_progress is not None:
                on_progress(found)
            if found.status == "red":
                raise StoreError(f"the optimizer of {self._location} has failed: {found.error or 'it gives no reason'}")
            if found.status == "green":
                return found
            if timeout is not None and time.monotonic() - started > timeout:
                raise StoreError(
                    f"{self._location} is still indexing after {timeout:g} s: {found.indexed:,} of {found.points:,} "
                    "vectors; meanwhile searches are complete, but slower"
                )
            if found.status == "grey":  # the optimizer waits for a change
                self._engine.restore_indexing()
            time.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT)
        return None

    def _end(self) -> None:
        with self._lock:
            self._loads -= 1
            if not self._loads:
                self._engine.restore_indexing()
