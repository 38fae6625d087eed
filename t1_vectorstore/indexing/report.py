"""What a load tells: how far it has got, and what it did."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

MAX_REPORTED = 1000
"""So many failures, and so many truncated chunks, does a report name; all are counted, and all failures are in the dead
letters."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Something that was not stored, and why.

    Attributes:
        id: the document's; ``None`` for what could not even be read as a document, of which the reason says where it
            stands. If an earlier version of the document was stored, that is still there.
        reason: in words.
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
    """How far a load has got.

    Attributes:
        documents: read from the source so far, good or bad.
        unread: items of the source that could not be read as documents; they are none of the ``documents``.
        repeated: documents that this load had had before, the very same; their chunks are not counted again.
        failed: documents that were not stored.
        chunks: that the good ones were cut into.
        unchanged: chunks that the collection held already.
        encoded: chunks that the model has read.
        stored: chunks written. Each is read back at the end of the load; a document of which one is not there, or not
            as it was written, is reported as failed.
        verified: stored chunks that were read back at the end as they were written.
        removed: chunks of earlier, longer versions that were deleted.
        pruned: chunks of documents which the source does not have any more that were deleted.
        truncated: stored chunks whose end the model did not read.
        tokens: that the model has read.
        seconds: since the load began.
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


@dataclass(frozen=True, slots=True)
class LoadReport(LoadProgress):
    """What a load did: the counts of ``LoadProgress``, and what is behind some of them.

    Attributes:
        failures: what was not stored or not read, in the order in which that was found; no more than were asked for.
        truncations: the chunks whose end the model did not read; likewise.
        not_pruned: why nothing was pruned although it was asked for; empty otherwise.
    """

    failures: Sequence[Failure] = ()
    truncations: Sequence[TruncatedChunk] = ()
    not_pruned: str = ""

    @property
    def complete(self) -> bool:
        """Whether everything that the source has is in the collection, and what was to be pruned is not."""
        return not (self.failed or self.unread or self.not_pruned)


def merge_reports(reports: Iterable[LoadReport], *, max_reported: int | None = MAX_REPORTED) -> LoadReport:
    """One report of several loads that each brought a part of a source into the same collection.

    Counts are added up. ``seconds`` is that of the longest, as the parts are taken to have been loaded side by side.

    Args:
        reports: of the parts.
        max_reported: Maximum number of failures, and of truncated chunks, to keep; ``None`` keeps all.
    """
    parts = list(reports)
    counts = {
        field.name: sum(getattr(part, field.name) for part in parts)
        for field in fields(LoadProgress)
        if field.name != "seconds"
    }
    return LoadReport(
        **counts,
        seconds=max((part.seconds for part in parts), default=0.0),
        failures=tuple(failure for part in parts for failure in part.failures)[:max_reported],
        truncations=tuple(cut for part in parts for cut in part.truncations)[:max_reported],
        not_pruned="; ".join(dict.fromkeys(part.not_pruned for part in parts if part.not_pruned)),
    )
