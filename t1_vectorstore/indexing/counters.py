"""The books of a load: its steps, at work in several threads, report here what they did."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, fields

from t1_vectorstore.indexing.dead_letters import DeadLetters
from t1_vectorstore.indexing.report import Failure, LoadProgress, LoadReport, TruncatedChunk
from t1_vectorstore.types import Document


class Tally:
    """Counts, and as many names as are asked for. Thread-safe."""

    def __init__(self, dead_letters: DeadLetters | None, max_reported: int | None) -> None:
        """Begin the clock.

        Args:
            dead_letters: take every failure.
            max_reported: Maximum number of failures, and of truncated chunks, to keep; ``None`` keeps all.
        """
        self._started = time.perf_counter()
        self._lock = threading.Lock()
        self._counts = {field.name: 0 for field in fields(LoadProgress) if field.name != "seconds"}
        self._changes = 0
        self._dead_letters = dead_letters
        self._max_reported = max_reported
        self._failures: list[Failure] = []
        self._truncations: list[TruncatedChunk] = []

    @property
    def changes(self) -> int:
        """Grows with each change."""
        return self._changes

    @property
    def progress(self) -> LoadProgress:
        """How far the load has got."""
        with self._lock:
            return LoadProgress(**self._counts, seconds=time.perf_counter() - self._started)

    def count(self, **more: int) -> None:
        """Add to the counts of these names."""
        with self._lock:
            self._changes += 1
            for name, number in more.items():
                self._counts[name] += number

    def fail(self, name: str, reason: str, document: Document | None = None) -> None:
        """A document was not stored."""
        self._remember(Failure(name, reason), document)
        self.count(failed=1)

    def unreadable(self, error: Exception) -> None:
        """Something in the source is no document."""
        self._remember(Failure(None, str(error)), None)
        self.count(unread=1)

    def truncate(self, cuts: Sequence[TruncatedChunk]) -> None:
        """Chunks were read in part."""
        with self._lock:
            self._truncations = [*self._truncations, *cuts][: self._max_reported]
        self.count(truncated=len(cuts))

    def report(self, not_pruned: str) -> LoadReport:
        """What has happened, in full."""
        counts = asdict(self.progress)
        failures, truncations = tuple(self._failures), tuple(self._truncations)
        return LoadReport(**counts, failures=failures, truncations=truncations, not_pruned=not_pruned)

    def _remember(self, failure: Failure, document: Document | None) -> None:
        if self._dead_letters is not None:
            self._dead_letters.write(document, failure.reason)
        with self._lock:
            if self._max_reported is None or len(self._failures) < self._max_reported:
                self._failures.append(failure)
