"""Writing and deleting, each with a check before and a verification after it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeAlias

from t1_vectorstore.collection.payload import HASH_FIELDS, stored_hash, stored_id, to_row
from t1_vectorstore.collection.words import WordEncoder
from t1_vectorstore.engines import Engine, FilterJSON, Row
from t1_vectorstore.engines.ids import PointId
from t1_vectorstore.errors import StoreError, WriteNotVerified, WriteRefused
from t1_vectorstore.types import Point

BATCH_POINTS = 256  # the embedded engine holds the GIL while it writes a batch
BATCH_BYTES = 4 * 2**20  # servers refuse requests of more than 32 MiB
_END: Any = object()
_REFUSALS = (ValueError, TypeError, StoreError)
_Batch: TypeAlias = Mapping[PointId, Row]


class Writer:
    """Writes to one engine, one batch at a time.

    Attributes:
        lock: Held while a batch is read, written and verified; threads of one collection take turns batch by batch.
    """

    def __init__(self, engine: Engine, location: str, words: WordEncoder | None) -> None:
        """Write to ``engine``; ``location`` names it in errors, and ``words`` encodes the words that it stores."""
        self.lock = engine.write_lock
        self._engine = engine
        self._location = location
        self._words = words

    def upsert(self, points: Iterable[Point], *, verify: bool = True) -> int:
        """See ``Collection.upsert``, and ``Collection.write`` for ``verify=False``."""
        if isinstance(points, Point) or not isinstance(points, Iterable):
            raise TypeError(f"expected several points, got {type(points).__name__}; wrap a single one in a list")
        write = partial(self._write_verified, written=set()) if verify else self._write
        with _BatchQueue(write, in_background=self._engine.kind == "server") as queue:
            batch: dict[PointId, Row] = {}
            size = 0
            source = iter(points)
            while True:
                point = next(source, _END)  # outside of the try, so that the iterable's own exceptions pass unchanged
                try:
                    if point is _END:
                        return queue.finish(batch)
                    # 1. Check the point. 2. Hand over the batch if it is full. 3. Add the point to the next one.
                    row = to_row(point, self._engine.schema, self._words)
                    if len(batch) >= BATCH_POINTS or size + row.size > BATCH_BYTES:
                        queue.submit(batch)
                        batch, size = {}, 0
                    if row.id in batch:
                        _check_replacement(row, batch[row.id], same_call=True)
                    batch[row.id] = row
                    size += row.size
                except _REFUSALS as error:
                    raise queue.error_with_count(error) from error.__cause__

    def erase(self, points: Sequence[PointId]) -> int:
        """Delete points that exist, and return their number.

        Raises:
            WriteNotVerified: Some still exist.
        """
        if not points:
            return 0
        self._engine.erase(points)
        if left := [stored_id(row) for row in self._engine.read(points, fields=HASH_FIELDS)]:
            raise WriteNotVerified(
                f"{len(left)} points are still in {self._location} after they were deleted, such as {left[0]!r}", left
            )
        return len(points)

    def erase_matching(self, filter: FilterJSON) -> int:
        """Delete all points that match, page by page, and return their number."""
        removed = 0
        while True:
            with self.lock:
                page, _ = self._engine.page(filter, limit=BATCH_POINTS, after=None, fields=[])
                if not page:
                    return removed
                removed += self.erase([row.id for row in page])

    def _write(self, batch: _Batch) -> int:
        if batch:
            with self.lock:
                self._write_naming_refused(list(batch.values()))
        return len(batch)

    def _write_verified(self, batch: _Batch, written: set[int]) -> int:
        """Write a batch, and read it before and after; ``written`` has the keys of the points in earlier batches."""
        if not batch:
            return 0
        with self.lock:
            # 1. What is stored under these ids: another id's point, or other content of this call, may not be lost.
            before = {row.id: row for row in self._engine.read(list(batch), fields=HASH_FIELDS)}
            for point, old in before.items():
                _check_replacement(batch[point], old, same_call=_short_key(point) in written)
            # 2. Write, and read back; what is missing is written once more, since another writer may have restored the
            #    old content meanwhile, but hardly twice.
            missing = list(batch.values())
            for _ in range(2):
                self._write_naming_refused(missing)
                missing = self._not_stored(missing, before)
                if not missing:
                    written.update(map(_short_key, batch))
                    return len(batch)
        lost = [stored_id(row) for row in missing]
        raise WriteNotVerified(
            f"{len(lost)} points are not in {self._location} after they were written, such as {lost[0]!r}; "
            "look at the engine's log, and write them again",
            lost,
        )

    def _write_naming_refused(self, rows: Sequence[Row]) -> None:
        """Write rows, in parts if all at once are too many; if the engine refuses one of them, name it in the error."""
        try:
            self._engine.write(rows)
        except WriteRefused as error:
            if (refused := self._find_refused(rows)) is None:
                raise
            if len(rows) > 1 and self._accepts([refused]):  # too many at once, and none of them is at fault
                middle = len(rows) // 2
                self._write_naming_refused(rows[:middle])
                self._write_naming_refused(rows[middle:])
                return
            name = stored_id(refused)
            raise WriteRefused(f"{error} (this is about the point {name!r})", [name]) from error.__cause__

    def _find_refused(self, rows: Sequence[Row]) -> Row | None:
        """Return the row of a refused batch that the engine refuses; ``None`` if it refuses every part of the batch.

        Bisection: half of the rows are written. If the engine accepts them, the refused row is in the other half. The
        accepted parts stay stored, as valid points of this call. (The refused row of a batch that is only too large is
        any.) If no part was accepted, the last row is tried, too:
        an engine that refuses everything has another reason than the content of one row.
        """
        last, accepted = rows[-1], len(rows) == 1
        while len(rows) > 1:
            half = rows[: len(rows) // 2]
            if self._accepts(half):
                rows, accepted = rows[len(half) :], True
            else:
                rows = half
        return rows[0] if accepted or self._accepts([last]) else None

    def _accepts(self, rows: Sequence[Row]) -> bool:
        try:
            self._engine.write(rows)
        except WriteRefused:
            return False
        return True

    def _not_stored(self, rows: Sequence[Row], before: _Batch) -> list[Row]:
        """Return the rows that do not exist, or still have the content from before they were written."""
        after = {row.id: row for row in self._engine.read([row.id for row in rows], fields=HASH_FIELDS)}

        def is_stored(row: Row) -> bool:
            found, old = after.get(row.id), before.get(row.id)
            if found is None or stored_id(found) != stored_id(row):
                return False
            overwritten = old is None or stored_hash(found) != stored_hash(old)  # later, by another writer
            return stored_hash(found) == stored_hash(row) or overwritten

        return [row for row in rows if not is_stored(row)]


class _BatchQueue:
    """Writes batches in order, and counts the stored points.

    A server works on one batch while the caller prepares the next one. At the end of the ``with`` block nothing is
    being written.
    """

    def __init__(self, write: Callable[[_Batch], int], *, in_background: bool) -> None:
        self._write = write
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="t1-upsert") if in_background else None
        self._under_way: Future[int] | None = None
        self._stored = 0

    def __enter__(self) -> _BatchQueue:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def submit(self, batch: _Batch) -> None:
        self._wait()
        if self._pool is None:
            self._stored += self._write(batch)
        else:
            self._under_way = self._pool.submit(self._write, batch)

    def finish(self, batch: _Batch) -> int:
        self._wait()
        self._stored += self._write(batch)
        return self._stored

    def error_with_count(self, error: Exception) -> Exception:
        """Return the error to raise: that of the batch under way came first. It has the number of stored points."""
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


def same_point(one: str, other: str) -> ValueError:
    """Return the error about two ids that are stored as the same point."""
    return ValueError(f"the ids {one!r} and {other!r} fall on the same point: one is the hash of the other; rename one")


def _short_key(point: PointId) -> int:
    """Return a key for a large set of points: a UUID's hash takes less memory than the UUID.

    An integer is its own key, since Python hashes integers that differ by 2**61 - 1 alike.
    """
    return point if isinstance(point, int) else hash(point)


def _check_replacement(new: Row, old: Row, *, same_call: bool) -> None:
    """Refuse to replace the point of another id, or other content of the same call."""
    if stored_id(new) != stored_id(old):
        raise same_point(stored_id(new), stored_id(old))
    if same_call and stored_hash(new) != stored_hash(old):
        raise ValueError(
            f"the id {stored_id(new)!r} occurs twice with different text or metadata, and one would be lost; "
            "give each its own id"
        )
