"""Progress of each shard, reported by the workers while they run, so that a lost worker's work is known."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace

from t1_vectorstore.indexing import LoadProgress, LoadReport, merge_reports


class ShardProgress:
    """The attempts to load each shard, in order, and the progress of each. A Ray actor on the driver's machine."""

    def __init__(self) -> None:
        self._attempts: dict[str, list[LoadProgress]] = {}

    def begin(self, shard: str) -> int:
        """Begin an attempt, and return its number, from 0."""
        attempts = self._attempts.setdefault(shard, [])
        attempts.append(LoadProgress())
        return len(attempts) - 1

    def report(self, shard: str, attempt: int, progress: LoadProgress) -> None:
        """Store the progress of an attempt."""
        self._attempts[shard][attempt] = progress

    def failed_in_a_row(self, shard: str) -> int:
        """Return how many of the latest attempts, before the current one, were lost without storing anything."""
        count = 0
        for attempt in reversed(self._attempts[shard][:-1]):
            if attempt.stored:
                break
            count += 1
        return count

    def earlier_attempts(self, shard: str, attempt: int) -> list[LoadProgress]:
        """Return the progress of the attempts before this one."""
        return self._attempts[shard][:attempt]

    def total(self) -> LoadProgress:
        """Return the progress of all shards, by the latest attempt at each."""
        return merge_reports(LoadReport(**asdict(attempts[-1])) for attempts in self._attempts.values())


def add_lost_attempts(report: LoadReport, attempts: Iterable[LoadProgress]) -> LoadReport:
    """Return a shard's report, with the work of lost attempts at it.

    The last attempt has read each chunk of the shard, and counts as unchanged what an earlier attempt had stored. This
    counts those chunks as stored, as far as the attempt had reported them; the others stay unchanged. So every chunk is
    counted exactly once.
    """
    for attempt in attempts:
        stored = min(attempt.stored, report.unchanged)
        report = replace(
            report,
            stored=report.stored + stored,
            verified=report.verified + stored,  # the last attempt found their hashes
            unchanged=report.unchanged - stored,
            encoded=report.encoded + attempt.encoded,
            tokens=report.tokens + attempt.tokens,
            removed=report.removed + attempt.removed,
        )
    return report
