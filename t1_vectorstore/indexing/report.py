"""Progress and report of a load, and the counters behind them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TypeAlias

from t1_vectorstore.indexing.dead_letters import DeadLetters
from t1_vectorstore.types import Document

MAX_REPORTED = 1000
"""Maximum number of failures, and of truncated chunks, in a report. All are counted, and the dead letters have all
failures."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Something that was not stored.

    Attributes:
        id: Id of the document; ``None`` for an item that could not be read as a document. If an earlier version of the
            document was stored, it still is.
        reason: Why it was not stored. For an unreadable item, with its file and line.
    """

    id: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class TruncatedChunk:
    """A stored chunk whose end the model did not read."""

    id: str
    dropped_tokens: int
    total_tokens: int


@dataclass(frozen=True, slots=True)
class LoadProgress:
    """Counts of a load so far.

    Attributes:
        documents: Documents read from the source, good or bad.
        unread: Items of the source that could not be read as documents; not included in ``documents``.
        repeated: Documents equal to one that this load had read before; their chunks are not counted again.
        failed: Documents that were not stored.
        chunks: Chunks of the good documents.
        unchanged: Chunks that the collection already held.
        encoded: Chunks that the model has read.
        stored: Chunks written. Each is read back at the end of the load; a document of which one is missing, or not as
            it was written, is reported as failed.
        verified: Stored chunks that were read back at the end as they were written.
        removed: Deleted chunks of earlier, longer versions.
        pruned: Deleted chunks of documents that the source no longer has.
        truncated: Stored chunks whose end the model did not read.
        tokens: Tokens that the model has read.
        seconds: Wall time since the load began.
    """

    documents: int = 0
    unread: int = 0
    repeated: int = 0
    failed: int = 0
    chunks: int = 0
    unchanged: int = 0
    encoded: int = 0
    stored: int = 0
    verified: int = 0
    removed: int = 0
    pruned: int = 0
    truncated: int = 0
    tokens: int = 0
    seconds: float = 0.0


_COUNTS = tuple(field.name for field in fields(LoadProgress) if field.name != "seconds")


@dataclass(frozen=True, slots=True)
class LoadReport(LoadProgress):
    """Result of a load: the counts of ``LoadProgress``, and details.

    Attributes:
        failures: What was not read or not stored, in the order in which it was found; at most ``max_reported``.
        truncations: Chunks whose end the model did not read; at most ``max_reported``.
        not_pruned: Why nothing was pruned although it was asked for; empty otherwise.
    """

    failures: Sequence[Failure] = ()
    truncations: Sequence[TruncatedChunk] = ()
    not_pruned: str = ""

    @property
    def complete(self) -> bool:
        """Whether the collection holds everything in the source, and nothing that was to be pruned."""
        return not (self.failed or self.unread or self.not_pruned)


def merge_reports(reports: Iterable[LoadReport], *, max_reported: int | None = MAX_REPORTED) -> LoadReport:
    """Merge the reports of loads that each loaded a part of a source into the same collection.

    Counts are added. ``seconds`` is the largest, since the parts are assumed to be loaded at the same time.

    Args:
        reports: Reports of the parts.
        max_reported: Maximum number of failures, and of truncated chunks, to keep; ``None`` keeps all.
    """
    parts = list(reports)
    return LoadReport(
        **{name: sum(getattr(part, name) for part in parts) for name in _COUNTS},
        seconds=max((part.seconds for part in parts), default=0.0),
        failures=tuple(failure for part in parts for failure in part.failures)[:max_reported],
        truncations=tuple(chunk for part in parts for chunk in part.truncations)[:max_reported],
        not_pruned="; ".join(dict.fromkeys(part.not_pruned for part in parts if part.not_pruned)),
    )


OnProgress: TypeAlias = Callable[[LoadProgress], None]


class LoadCounters:
    """Counts, failures and truncated chunks of a load, to which its steps report from several threads.

    All failures are written to ``dead_letters``; the report lists the first ``max_reported``, or all with ``None``.
    """

    def __init__(
        self, dead_letters: DeadLetters | None, max_reported: int | None, on_progress: OnProgress | None
    ) -> None:
        self._started = time.perf_counter()
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(_COUNTS, 0)
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
