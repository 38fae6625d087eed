"""The counters of a load, to which its steps report from several threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict

from t1_vectorstore.indexing.dead_letters import DeadLetters
from t1_vectorstore.indexing.report import COUNTS, Failure, LoadProgress, LoadReport, TruncatedChunk
from t1_vectorstore.types import Document


class LoadCounters:
    """Counts, failures and truncated chunks. Thread-safe."""

    def __init__(
        self,
        dead_letters: DeadLetters | None,
        max_reported: int | None,
        on_progress: Callable[[LoadProgress], None] | None = None,
    ) -> None:
        """Start the clock.

        Args:
            dead_letters: File for all failed documents.
            max_reported: Maximum number of failures, and of truncated chunks, to keep; ``None`` keeps all.
            on_progress: Called by ``report_progress``.
        """
        self._started = time.perf_counter()
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(COUNTS, 0)
        self._changed = False
        self._dead_letters = dead_letters
        self._max_reported = max_reported
        self._on_progress = on_progress
        self._failures: list[Failure] = []
        self._truncations: list[TruncatedChunk] = []

    @property
    def progress(self) -> LoadProgress:
        """The counts so far."""
        with self._lock:
            return LoadProgress(**self._counts, seconds=time.perf_counter() - self._started)

    def report_progress(self, *, always: bool = False) -> None:
        """Call ``on_progress`` if anything has changed since the last call."""
        if self._on_progress is not None and (always or self._changed):
            self._changed = False
            self._on_progress(self.progress)

    def count(self, **more: int) -> None:
        """Add to the counts of these names."""
        with self._lock:
            for name, number in more.items():
                self._counts[name] += number
            self._changed = True

    def count_failure(self, document_id: str, reason: str, document: Document | None = None) -> None:
        """Count a document that was not stored."""
        self._keep(Failure(document_id, reason), document)
        self.count(failed=1)

    def count_unreadable(self, error: Exception) -> None:
        """Count an item of the source that could not be read as a document."""
        self._keep(Failure(None, str(error)), None)
        self.count(unread=1)

    def count_truncated(self, chunks: Sequence[TruncatedChunk]) -> None:
        """Count chunks whose end the model did not read."""
        with self._lock:
            self._truncations = [*self._truncations, *chunks][: self._max_reported]
        self.count(truncated=len(chunks))

    def report(self, not_pruned: str) -> LoadReport:
        """Return the final report."""
        counts = asdict(self.progress)
        failures, truncations = tuple(self._failures), tuple(self._truncations)
        return LoadReport(**counts, failures=failures, truncations=truncations, not_pruned=not_pruned)

    def _keep(self, failure: Failure, document: Document | None) -> None:
        if self._dead_letters is not None:
            self._dead_letters.write(document, failure.reason)
        with self._lock:
            if self._max_reported is None or len(self._failures) < self._max_reported:
                self._failures.append(failure)
