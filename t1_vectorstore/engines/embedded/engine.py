"""The embedded engine: qdrant-edge on a folder.

It adds what the library does not do: it locks the folder before anything is opened, makes one call at a time, and
converts the library's bare ``Exception`` to the errors of this package.
"""

from __future__ import annotations

import ctypes
import os
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import qdrant_edge as edge

from t1_vectorstore.engines.base import (
    Engine,
    EngineKind,
    FilterJSON,
    Nearest,
    Row,
    Scored,
    payload_selector,
    row_of,
    to_point_id,
    vector_selector,
)
from t1_vectorstore.engines.embedded import builds
from t1_vectorstore.engines.embedded.copies import FolderCopy
from t1_vectorstore.engines.embedded.filters import edge_filter
from t1_vectorstore.engines.embedded.folder import FolderKey, IndexFolder
from t1_vectorstore.engines.embedded.optimize import copy_shard, optimize_copy, use_copy
from t1_vectorstore.engines.embedded.queries import edge_array, edge_query, edge_sparse
from t1_vectorstore.engines.embedded.shard import check_storage, create_shard
from t1_vectorstore.engines.ids import PointId
from t1_vectorstore.engines.schema import NoteName, OpenOptions, Schema
from t1_vectorstore.errors import CollectionLocked, CollectionNotFound, StoreError, StoreUnavailable
from t1_vectorstore.forks import ForkSafeLock, renew_after_fork

_FLUSH_SECONDS = 5.0
_DISK_ERRORS = ("no space left", "not enough space", "disk full", "read-only", "permission denied", "input/output")


class _OpenIndex:
    """An index that is open in this process, and the number of engines that use it. The last one closes it."""

    def __init__(self, folder: IndexFolder, options: OpenOptions) -> None:
        """Load the index in a locked folder, or create it for a model."""
        self.folder = folder
        self.pid = os.getpid()
        self.lock = ForkSafeLock()
        self.writing = ForkSafeLock()  # taken before the other one, and held while the index is optimised
        self.write_lock = ForkSafeLock(reentrant=True)
        self.flushed = time.monotonic()
        self.users = 0
        with _converted_errors(folder.path), folder.changing():
            found = folder.load_schema()
            if found is None:
                if not options.may_create:
                    raise CollectionNotFound(f"there is no index in {folder.path}")
                found = options.new_schema()
                if options.creation is not None or not found.has_dense:
                    only = "arguments of create_collection" if found.has_dense else "sparse vectors only"
                    raise ValueError(
                        f"a folder cannot be created with {only}: that is for ':memory:' and servers; a folder has "
                        "hybrid=True and storage=Storage(...)"
                    )
                folder.create(found, partial(create_shard, schema=found))
            options.for_only(found).reconcile(found, str(folder.path))
            self.description, self.notes = found, dict(found.notes)
            self.shard: edge.EdgeShard | None = edge.EdgeShard.load(str(folder.shard))
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Leave the index to the parent."""
        # 1. Keep the child's copy of the shard for ever: when it is deallocated it writes to the files of the parent.
        if self.shard is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self.shard))
        # 2. The lock is released when the parent closes it, and not when its last child ends.
        self.folder.close()

    def leave(self) -> None:
        """Close the index if this was its last user. A forked child changes nothing."""
        if os.getpid() != self.pid:
            return
        with _opening:
            self.users -= 1
            if self.users:
                return
            _open_indexes.pop(self.folder.key, None)
            self.close()

    def close(self) -> None:
        """Flush, close and unlock, in this order."""
        with self.lock:
            try:
                shard, self.shard = self.shard, None
                if shard is not None:
                    with _converted_errors(self.folder.path), self.folder.changing():
                        shard.close()
            finally:
                self.folder.close()


_open_indexes: dict[FolderKey | None, _OpenIndex] = {}
"""The indexes that are open in this process, or were in its parent."""
_opening = ForkSafeLock(reentrant=True)  # a finalizer may run, and close an index, while another one is opened


def _open(folder: IndexFolder, options: OpenOptions) -> _OpenIndex:
    """Open the index of a folder; after an error the folder is closed."""
    try:
        return _OpenIndex(folder, options)
    except BaseException:
        folder.close()
        raise


class EmbeddedEngine(Engine):
    """One shard of Qdrant's engine in this process. The engines of one folder share it.

    Without a call of ``close``, the shard is closed when this object is freed, or at the end of the process.
    """

    kind: EngineKind = "embedded"

    def __init__(self, index: _OpenIndex, options: OpenOptions) -> None:
        """Use an open index; if it is not what the options ask for, leave it again."""
        index.users += 1
        self.write_lock = index.write_lock
        self._index = index
        self._folder = index.folder
        self._leave = weakref.finalize(self, index.leave)
        try:
            described = replace(index.description, notes=dict(index.notes))
            self.schema = options.for_only(described).reconcile(described, str(index.folder.path))
        except BaseException:
            self.close()
            raise

    @classmethod
    def open(cls, path: Path, options: OpenOptions) -> EmbeddedEngine:
        """Open or create the index in a folder, or use the one that this process has open.

        Raises:
            CollectionMismatch: It has another model or other options, also if it is open already.
            CollectionLocked: Another process has it open.
        """
        if options.recreate:
            raise ValueError(f"a folder is not deleted; remove {str(path)!r} yourself to create its collection again")
        if options.storage is not None:
            check_storage(options.storage)
        if options.read_only:
            return cls(_open(FolderCopy(path), options), options)
        with _opening:
            index = _open_indexes.get(IndexFolder.key_of(path))
            if index is not None and index.pid == os.getpid():
                engine = cls(index, options)
                if index.shard is not None:  # else a finalizer has just closed it
                    return engine
            index = _open(IndexFolder(path, create=options.may_create), options)
            _open_indexes[index.folder.key] = index
            return cls(index, options)

    def write(self, rows: Sequence[Row]) -> None:
        """Insert or replace rows; when this returns, the write-ahead log has them."""
        points = [edge.Point(row.id, _vectors(row, self.schema), row.payload) for row in rows]
        with self._index.writing, self._use() as shard, self._folder.changing():
            self._folder.check_space(sum(row.size for row in rows))
            shard.update(edge.UpdateOperation.upsert_points(points))
            self._flush_sometimes(shard)

    def read(self, ids: Sequence[PointId], *, fields: Sequence[str] | None = None, vectors: bool = False) -> list[Row]:
        """Return the rows that exist among ``ids``."""
        selected = self._selected(fields, vectors)
        with self._use() as shard:
            found = shard.retrieve(list(ids), **selected)
        return [row_of(record, self.schema) for record in found]

    def erase(self, ids: Sequence[PointId]) -> None:
        """Delete points."""
        with self._index.writing, self._use() as shard, self._folder.changing():
            self._folder.check_space()
            shard.update(edge.UpdateOperation.delete_points(list(ids)))
            self._flush_sometimes(shard)

    def nearest(self, query: Nearest) -> list[Scored]:
        """Answer a query, best row first."""
        request = edge_query(query, self.schema)
        with self._use() as shard:
            found = shard.query(request)
        return [(point.score, row_of(point, self.schema)) for point in found]

    def count(self, filter: FilterJSON | None) -> int:
        """Return the exact number of points that match."""
        request = edge.CountRequest(exact=True, filter=edge_filter(filter) if filter else None)
        with self._use() as shard:
            return int(shard.count(request))

    def page(
        self,
        filter: FilterJSON | None,
        *,
        limit: int,
        after: PointId | None,
        fields: Sequence[str] | None = None,
        vectors: bool = False,
    ) -> tuple[list[Row], PointId | None]:
        """Return one page in the order of point ids, and where the next one starts."""
        selected = self._selected(fields, vectors)
        translated = edge_filter(filter) if filter else None
        with self._use() as shard:
            found, following = shard.scroll(
                edge.ScrollRequest(offset=after, limit=limit, filter=translated, **selected)
            )
        rows = [row_of(record, self.schema) for record in found]
        return rows, None if following is None else to_point_id(following)

    def disk_bytes(self) -> int:
        """Return the number of bytes used on disk."""
        return self._folder.disk_bytes()

    def has_previous_build(self) -> bool:
        """Return whether the description names a previous build."""
        return builds.PREVIOUS in self._folder.own_record()

    def read_note(self, name: NoteName) -> Any:  # noqa: ANN401 - JSON
        """Return the record that was written last; no other process can have the folder open."""
        return self._index.notes.get(name)

    def write_note(self, name: NoteName, record: Mapping[str, Any]) -> None:
        """Store a record in the description."""
        with self._index.writing, self._use():
            self._folder.write_record({**self._folder.own_record(), name: record})
            self._index.notes[name] = record

    def optimize(self) -> None:
        """Build a graph; see ``optimize.py``. Searches wait while files are copied and exchanged."""
        with self._index.writing:
            with self.held():
                copy = copy_shard(self._folder)
            optimize_copy(copy)
            with self._use() as shard, self._folder.changing():
                self._index.shard = None
                shard.close()
                try:
                    use_copy(self._folder, copy)
                finally:
                    self._index.shard = edge.EdgeShard.load(str(self._folder.shard))

    @contextmanager
    def held(self) -> Iterator[Path]:
        """Give the engine's files, complete on disk, which do not change within the block; searches wait."""
        with self._use() as shard:
            with self._folder.changing():
                shard.flush()
            yield self._folder.shard

    def switch(self, build: str) -> None:
        """Use another build for the index, and close; see ``builds.py``.

        Raises:
            CollectionLocked: It is also open elsewhere in this process.
        """
        with _opening:
            self.check_alone()
            _open_indexes.pop(self._folder.key, None)  # from here on, opening it again is refused
        with self._use():
            builds.switch(self._folder, build)
        self.close()

    def check_alone(self) -> None:
        """Refuse what would take the index from other users in this process."""
        if (others := self._index.users - 1) and self._leave.alive:
            times = "once" if others == 1 else f"{others} times"
            raise CollectionLocked(
                f"{self._folder.path} is open {times} more in this process; close the other stores or collections first"
            )

    def close(self) -> None:
        """Leave the index; its last user flushes, closes and unlocks it."""
        self._leave()

    def _selected(self, fields: Sequence[str] | None, vectors: bool) -> dict[str, Any]:
        return {"with_payload": payload_selector(fields), "with_vector": vector_selector(vectors, self.schema)}

    def _flush_sometimes(self, shard: edge.EdgeShard) -> None:
        """Limit what a power failure can lose, and the log that the next opening replays, as the server does."""
        if time.monotonic() - self._index.flushed > _FLUSH_SECONDS:
            shard.flush()
            self._index.flushed = time.monotonic()

    @contextmanager
    def _use(self) -> Iterator[edge.EdgeShard]:
        if os.getpid() != self._index.pid:
            raise StoreError(f"{self._folder.path} was opened before a fork; close it there and open it in one process")
        with self._index.lock, _converted_errors(self._folder.path):
            if (shard := self._index.shard) is None or not self._leave.alive:
                raise StoreError(f"{self._folder.path} is closed; open it again")
            yield shard


@contextmanager
def _converted_errors(path: Path) -> Iterator[None]:
    """Convert the library's bare ``Exception``; its subclasses pass."""
    try:
        yield
    except Exception as error:
        if type(error) is not Exception:
            raise
        if any(words in str(error).lower() for words in _DISK_ERRORS):
            raise StoreUnavailable(f"the index in {path} cannot be read or written: {error}") from error
        raise StoreError(f"the engine of the index in {path} failed: {error}") from error


def _vectors(row: Row, schema: Schema) -> Any:  # noqa: ANN401 - one vector, or several by name
    dense = edge_array(row.vector)
    if row.sparse is None:
        return {schema.vector_name: dense} if schema.vector_name else dense
    return {schema.vector_name: dense, schema.sparse_vector_name: edge_sparse(row.sparse)}
