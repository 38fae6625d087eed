"""How far each shard is, told by the workers as they go: what a worker has stored is known after it was lost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace

from t1_vectorstore.indexing import LoadProgress, LoadReport, merge_reports


class Ledger:
    """The attempts at each shard, in their order, and how far each got. A Ray actor on the machine of the driver."""

    def __init__(self) -> None:
        self._attempts: dict[str, list[LoadProgress]] = {}

    def begin(self, shard: str) -> int:
        """A worker takes a shard; its number among those that did, from 0."""
        attempts = self._attempts.setdefault(shard, [])
        attempts.append(LoadProgress())
        return len(attempts) - 1

    def futile(self, shard: str) -> int:
        """How many of the latest attempts, the one under way left out, were lost without storing anything."""
        count = 0
        for attempt in reversed(self._attempts[shard][:-1]):
            if attempt.stored:
                break
            count += 1
        return count

    def tell(self, shard: str, attempt: int, progress: LoadProgress) -> None:
        """An attempt has got so far."""
        self._attempts[shard][attempt] = progress

    def lost(self, shard: str, attempt: int) -> list[LoadProgress]:
        """How far the attempts before this one got."""
        return self._attempts[shard][:attempt]

    def progress(self) -> LoadProgress:
        """How far all shards are, by the last attempt at each."""
        return merge_reports(LoadReport(**asdict(attempts[-1])) for attempts in self._attempts.values())


def with_lost(report: LoadReport, lost: Iterable[LoadProgress]) -> LoadReport:
    """The report of a shard, with what earlier attempts at it had done.

    The last attempt has met each chunk of the shard, and counts as unchanged what an earlier one had stored. As far as
    those told of it, this is set right; what one stored and had no time to tell stays counted as unchanged. So no chunk
    is counted twice, and none is left out.
    """
    for attempt in lost:
        stored = min(attempt.stored, report.unchanged)
        report = replace(
            report,
            stored=report.stored + stored,
            verified=report.verified + stored,  # its hash was just found
            unchanged=report.unchanged - stored,
            encoded=report.encoded + attempt.encoded,
            tokens=report.tokens + attempt.tokens,
            removed=report.removed + attempt.removed,
        )
    return report
