"""Writing that is checked before and proven after: what ``Collection`` does to an engine when something changes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Any, TypeVar

from t1_vectorstore.collection.payload import PROOF_FIELDS, stored_hash, stored_id, to_row
from t1_vectorstore.engines import Engine, FilterJSON, Row
from t1_vectorstore.engines.ids import PointId
from t1_vectorstore.errors import StoreError, WriteNotVerified, WriteRefused
from t1_vectorstore.types import Point

BATCH_POINTS = 256  # the embedded engine holds the interpreter for the length of a batch
BATCH_BYTES = 4 * 2**20  # servers refuse requests of more than 32 MiB
_END: Any = object()
_REFUSALS = (ValueError, TypeError, StoreError)
_Item = TypeVar("_Item")


class Writer:
    """Writes to one engine, one batch at a time.

    Attributes:
        lock: held while a batch is read, written and proven; threads of one collection take turns by the batch.
    """

    def __init__(self, engine: Engine, location: str) -> None:
        """Write to ``engine``; ``location`` names it in errors."""
        self.lock = threading.RLock()
        self._engine = engine
        self._location = location

    def upsert(self, points: Iterable[Point], *, verify: bool = True) -> int:
        """See ``Collection.upsert``, and ``Collection.write`` for ``verify=False``."""
        if isinstance(points, Point) or not isinstance(points, Iterable):
            raise TypeError(f"expected several points, got {type(points).__name__}; wrap a single one in a list")
        write = partial(self._write_verified, seen=set()) if verify else self._write
        with _Lane(write, beside=self._engine.kind == "server") as lane:
            batch: dict[PointId, Row] = {}
            size = 0
            source = iter(points)
            while True:
                point = next(source, _END)  # what the iterable raises is its owner's: it passes as it is
                try:
                    if point is _END:
                        return lane.finish(batch)
                    row = to_row(point, self._engine.schema)
                    if len(batch) >= BATCH_POINTS or size + row.size > BATCH_BYTES:
                        lane.send(batch)
                        batch, size = {}, 0
                    if row.id in batch:
                        _refuse_loss(row, batch[row.id], same_call=True)
                    batch[row.id] = row
                    size += row.size
                except _REFUSALS as error:
                    raise lane.first(error) from error.__cause__

    def erase(self, targets: Sequence[PointId]) -> int:
        """Remove points that exist, prove it, and say how many.

        Raises:
            WriteNotVerified: some are still there.
        """
        if not targets:
            return 0
        self._engine.erase(targets)
        if left := [stored_id(row) for row in self._engine.read(targets, fields=PROOF_FIELDS)]:
            raise WriteNotVerified(
                f"{len(left)} points are still in {self._location} after they were deleted, such as {left[0]!r}", left
            )
        return len(targets)

    def erase_matching(self, filter: FilterJSON) -> int:
        """Remove all points that match, page by page, and say how many there were."""
        removed = 0
        while True:
            with self.lock:
                page, _ = self._engine.page(filter, limit=BATCH_POINTS, after=None, fields=[])
                if not page:
                    return removed
                removed += self.erase([row.id for row in page])

    def _write(self, batch: Mapping[PointId, Row]) -> int:
        """Write a batch."""
        if batch:
            with self.lock:
                self._put(list(batch.values()))
        return len(batch)

    def _write_verified(self, batch: Mapping[PointId, Row], seen: set[int]) -> int:
        """Write a batch and prove it; ``seen`` remembers which points this call has written."""
        if not batch:
            return 0
        with self.lock:
            before = {row.id: row for row in self._engine.read(list(batch), fields=PROOF_FIELDS)}
            for target, old in before.items():
                _refuse_loss(batch[target], old, same_call=hash(target) in seen)
            missing = list(batch.values())
            for _ in range(2):  # a writer elsewhere may have put the old content back; twice is no coincidence
                self._put(missing)
                missing = self._unproven(missing, before)
                if not missing:
                    seen.update(hash(target) for target in batch)
                    return len(batch)
        lost = [stored_id(row) for row in missing]
        raise WriteNotVerified(
            f"{len(lost)} points are not in {self._location} after they were written, such as {lost[0]!r}; "
            "look at the engine's log, and write them again",
            lost,
        )

    def _put(self, rows: Sequence[Row]) -> None:
        """Write rows; where the engine refuses one, say which.

        Halves are written to find it, so others of the batch may be stored afterwards, which harms nobody. Where none
        of the batch is taken, it is not about a point, and none is named.
        """
        try:
            self._engine.write(rows)
        except WriteRefused as error:
            if (culprit := self._refused(rows)) is None:
                raise
            name = stored_id(culprit)
            raise WriteRefused(f"{error} (it is about the point {name!r})", [name]) from error.__cause__

    def _refused(self, rows: Sequence[Row]) -> Row | None:
        last = rows[-1]
        taken = len(rows) == 1
        while len(rows) > 1:
            half = rows[: len(rows) // 2]
            if self._takes(half):
                rows, taken = rows[len(half) :], True
            else:
                rows = half
        return rows[0] if taken or self._takes([last]) else None

    def _takes(self, rows: Sequence[Row]) -> bool:
        try:
            self._engine.write(rows)
        except WriteRefused:
            return False
        return True

    def _unproven(self, rows: Sequence[Row], before: Mapping[PointId, Row]) -> list[Row]:
        """The rows that are absent, or that still have the content they had before they were written."""
        after = {row.id: row for row in self._engine.read([row.id for row in rows], fields=PROOF_FIELDS)}

        def proven(row: Row) -> bool:
            found, old = after.get(row.id), before.get(row.id)
            if found is None or stored_id(found) != stored_id(row):
                return False
            overwritten = old is None or stored_hash(found) != stored_hash(old)  # by a writer who came later
            return stored_hash(found) == stored_hash(row) or overwritten

        return [row for row in rows if not proven(row)]


class _Lane:
    """Takes batches one after the other, and counts what is stored.

    Where the engine is another process, a batch is written while the caller makes the next one ready. Whatever happens,
    nothing is under way any more when the lane is left.
    """

    def __init__(self, write: Callable[[Mapping[PointId, Row]], int], *, beside: bool) -> None:
        self._write = write
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="t1-upsert") if beside else None
        self._under_way: Future[int] | None = None
        self._stored = 0

    def __enter__(self) -> _Lane:
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def send(self, batch: Mapping[PointId, Row]) -> None:
        """Begin to write a batch, as soon as the one before is done."""
        self._wait()
        if self._pool is None:
            self._stored += self._write(batch)
        else:
            self._under_way = self._pool.submit(self._write, batch)

    def finish(self, batch: Mapping[PointId, Row]) -> int:
        """Write the last batch, and say how many points there were in all."""
        self._wait()
        self._stored += self._write(batch)
        return self._stored

    def first(self, error: Exception) -> Exception:
        """The error to raise, which says how many points were stored before: that of the batch under way came first."""
        try:
            self._wait()
        except _REFUSALS as earlier:
            error = earlier
        error.stored = self._stored  # type: ignore[attr-defined]
        if self._stored:
            error.args = (f"{error} ({self._stored} points were stored before)", *error.args[1:])
        return error

    def _wait(self) -> None:
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            self._stored += under_way.result()


def batched(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    """Lists of ``size`` items, the last one shorter."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def same_point(one: str, other: str) -> ValueError:
    """Return the error about two ids that are stored as the same point."""
    return ValueError(f"the ids {one!r} and {other!r} fall on the same point: one is the hash of the other; rename one")


def _refuse_loss(new: Row, old: Row, *, same_call: bool) -> None:
    """Replacing a point is what upsert is for, unless it is another id's, or of the very same call."""
    if stored_id(new) != stored_id(old):
        raise same_point(stored_id(new), stored_id(old))
    if same_call and stored_hash(new) != stored_hash(old):
        raise ValueError(
            f"the id {stored_id(new)!r} occurs twice with different text or metadata, and one would be lost; "
            "give each its own id"
        )
