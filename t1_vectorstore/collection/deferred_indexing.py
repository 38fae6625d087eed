"""Bulk loads: indexing put off while they last, and the wait until the engine has caught up."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from t1_vectorstore.engines import Engine
from t1_vectorstore.errors import StoreError
from t1_vectorstore.types import Indexing

_FIRST_LOOK, _LATER_LOOKS = 0.05, 1.0  # seconds between two looks at the optimizer; they grow


class DeferredIndexing:
    """Defers and restores the indexing of one collection, once for all its bulk loads that overlap."""

    def __init__(self, engine: Engine, location: str) -> None:
        """Of ``engine``; ``location`` names it in errors."""
        self._engine = engine
        self._location = location
        self._lock = threading.Lock()
        self._loads = 0

    @contextmanager
    def bulk(self) -> Iterator[None]:
        """See ``Collection.bulk``."""
        self._begin()
        try:
            yield
        except BaseException:
            try:
                self._end()
            except StoreError as error:  # the load's own error is the one to be seen
                remedy = "the next load restores it, as do restore_indexing() and t1 optimize"
                warnings.warn(f"{self._location} still defers its indexing ({error}); {remedy}", stacklevel=3)
            raise
        self._end()

    def settle(self, timeout: float | None, on_progress: Callable[[Indexing], None] | None) -> Indexing | None:
        """See ``Collection.settle``."""
        started, pause = time.monotonic(), _FIRST_LOOK
        while (found := self._engine.indexing()) is not None:
            if on_progress is not None:
                on_progress(found)
            if found.status == "red":
                raise StoreError(
                    f"the optimizer of {self._location} has failed: {found.error or 'it does not say why'}"
                )
            if found.status == "green":
                return found
            if timeout is not None and time.monotonic() - started > timeout:
                raise StoreError(
                    f"{self._location} is still indexing after {timeout:g} s: {found.indexed:,} of {found.points:,} "
                    "vectors; searches are complete meanwhile, only slower"
                )
            if found.status == "grey":
                self._engine.restore_indexing()
            time.sleep(pause)
            pause = min(2 * pause, _LATER_LOOKS)
        return None

    def _begin(self) -> None:
        with self._lock:
            if not self._loads:
                self._engine.defer_indexing()
            self._loads += 1

    def _end(self) -> None:
        with self._lock:
            self._loads -= 1
            if not self._loads:
                self._engine.restore_indexing()
