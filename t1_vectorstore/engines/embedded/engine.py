"""The embedded engine: qdrant-edge on a folder. Only this module and ``edge_*`` know the library's engine.

What the library does not do by itself is done here: a lock before anything is opened, one call at a time, its bare
``Exception`` turned into this package's errors.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as edge

from t1_vectorstore.engines.base import SPARSE, EngineKind, FilterJSON, Nearest, Row, Scored, WithoutOptimizer
from t1_vectorstore.engines.embedded import builds
from t1_vectorstore.engines.embedded.filters import edge_filter
from t1_vectorstore.engines.embedded.folder import IndexFolder
from t1_vectorstore.engines.embedded.optimize import adopt_copy, copy_shard, optimize_copy
from t1_vectorstore.engines.embedded.queries import array, edge_query, search_params, sparse_vector
from t1_vectorstore.engines.embedded.shard import check_storage, create_shard
from t1_vectorstore.engines.ids import PointId
from t1_vectorstore.engines.schema import LOAD_KEY, Expected, Schema
from t1_vectorstore.errors import CollectionNotFound, StoreError, StoreUnavailable
from t1_vectorstore.types import LoadRecord

_FLUSH_SECONDS = 5.0
_OUT_OF_ORDER = ("no space left", "not enough space", "disk full", "read-only", "permission denied", "input/output")


class EmbeddedEngine(WithoutOptimizer):
    """One shard of Qdrant's engine in this process."""

    kind: EngineKind = "embedded"

    def __init__(self, folder: IndexFolder, expected: Expected) -> None:
        """Load the index in a locked folder, or create it for the expected model."""
        self._folder = folder
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._writing = threading.Lock()  # taken before the other one, and kept while the index is optimised
        self._flushed = time.monotonic()
        found = folder.schema()
        with _translated(folder.path):
            if found is None:
                if expected.identity is None:
                    raise CollectionNotFound(f"there is no index in {folder.path}")
                found = expected.new_schema()
                folder.create(found, partial(create_shard, schema=found))
            self.schema: Schema = expected.reconcile(found, str(folder.path))
            self._shards = [edge.EdgeShard.load(str(folder.shard))]  # a list, so that it can be emptied from outside
        # Also when nobody calls close: the shard must be gone before the lock is.
        self._release = weakref.finalize(self, _release, self._shards, folder, self._lock, self._pid)

    @classmethod
    def open(cls, path: Path, expected: Expected) -> EmbeddedEngine:
        """Open or create the index in a folder; whatever fails, the folder is not left locked."""
        if expected.options.storage is not None:
            check_storage(expected.options.storage)
        folder = IndexFolder(path, create=expected.may_create)
        try:
            return cls(folder, expected)
        except BaseException:
            folder.close()
            raise

    def write(self, rows: Sequence[Row]) -> None:
        """Insert or replace rows; the write-ahead log has them when this returns."""
        points = [edge.Point(row.id, _vectors(row), row.payload) for row in rows]
        with self._writing, self._use() as shard:
            self._folder.demand_space(sum(row.size for row in rows))
            shard.update(edge.UpdateOperation.upsert_points(points))
            self._flush_now_and_then(shard)

    def read(self, ids: Sequence[PointId], *, fields: Sequence[str] | None = None, vectors: bool = False) -> list[Row]:
        """The rows that exist among ``ids``."""
        with self._use() as shard:
            found = shard.retrieve(list(ids), with_payload=_selected(fields), with_vector=_dense(vectors))
        return [_row(record) for record in found]

    def erase(self, ids: Sequence[PointId]) -> None:
        """Remove points."""
        with self._writing, self._use() as shard:
            self._folder.demand_space()
            shard.update(edge.UpdateOperation.delete_points(list(ids)))
            self._flush_now_and_then(shard)

    def nearest(self, query: Nearest) -> list[Scored]:
        """The rows that answer a query, best first."""
        request = edge_query(query, search_params(self.schema.storage))
        with self._use() as shard:
            found = shard.query(request)
        return [(point.score, _row(point)) for point in found]

    async def anearest(self, query: Nearest) -> list[Scored]:
        """``nearest`` in a thread, as the library has nothing to wait for."""
        return await asyncio.to_thread(self.nearest, query)

    def count(self, filter: FilterJSON | None) -> int:
        """How many points match, exactly."""
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
        """One page in the order of point ids."""
        request = edge.ScrollRequest(
            offset=after,
            limit=limit,
            filter=edge_filter(filter) if filter else None,
            with_payload=_selected(fields),
            with_vector=_dense(vectors),
        )
        with self._use() as shard:
            found, following = shard.scroll(request)
        return [_row(record) for record in found], None if following is None else _plain(following)

    def disk_bytes(self) -> int:
        """Bytes used on disk."""
        return self._folder.disk_bytes()

    def latest_load(self) -> LoadRecord | None:
        """What was noted last; nobody else can have the folder open."""
        return self.schema.load

    def note_load(self, load: LoadRecord) -> None:
        """Write it into the description."""
        with self._writing, self._use():
            self._folder.describe({**self._folder.record(), LOAD_KEY: load.to_json()})
            self.schema = replace(self.schema, load=load)

    def optimize(self) -> None:
        """Build a graph; see ``edge_optimizing.py``. Searches wait for the copy and for the exchange only."""
        with self._writing:
            with self.held(), _translated(self._folder.path):
                copy = copy_shard(self._folder)
            optimize_copy(copy)
            with self._use():
                self._shards.pop().close()
                try:
                    adopt_copy(self._folder, copy)
                finally:
                    self._shards.append(edge.EdgeShard.load(str(self._folder.shard)))

    @contextmanager
    def held(self) -> Iterator[Path]:
        """The engine's files, complete on disk, and nothing changes them meanwhile; searches wait."""
        with self._use() as shard:
            shard.flush()
            yield self._folder.shard

    def switch(self, build: str) -> None:
        """Make a build the index, and close; see ``builds.py``."""
        with self._use():
            builds.switch(self._folder, build)
        self.close()

    def close(self) -> None:
        """Flush, close and unlock."""
        self._release()

    def _flush_now_and_then(self, shard: edge.EdgeShard) -> None:
        """Bound what a power failure can take, and the log that the next opening replays, as the server does."""
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            shard.flush()
            self._flushed = time.monotonic()

    @contextmanager
    def _use(self) -> Iterator[edge.EdgeShard]:
        if os.getpid() != self._pid:
            raise StoreError(f"{self._folder.path} was opened before a fork; close it there and open it in one process")
        with self._lock, _translated(self._folder.path):
            if not self._shards:
                raise StoreError(f"{self._folder.path} is closed; open it again")
            yield self._shards[0]


def _release(shards: list[edge.EdgeShard], folder: IndexFolder, lock: threading.Lock, pid: int) -> None:
    """Flush, close and unlock, in this order; a forked child touches neither the files nor the parent's lock."""
    if os.getpid() != pid:
        folder.close()
        return
    with lock:
        try:
            while shards:
                with _translated(folder.path):
                    shards.pop().close()
        finally:
            folder.close()


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """The library raises bare ``Exception``; everything more specific passes."""
    try:
        yield
    except Exception as error:
        if type(error) is not Exception:
            raise
        if any(words in str(error).lower() for words in _OUT_OF_ORDER):
            raise StoreUnavailable(f"the index in {path} cannot be read or written: {error}") from error
        raise StoreError(f"the engine of the index in {path} failed: {error}") from error


def _dense(vectors: bool) -> bool | list[str]:
    return [""] if vectors else False


def _selected(fields: Sequence[str] | None) -> bool | list[str]:
    return True if fields is None else list(fields)


def _vectors(row: Row) -> Any:  # noqa: ANN401 - one vector, or several by name
    dense = array(row.vector)
    return dense if row.sparse is None else {"": dense, SPARSE: sparse_vector(row.sparse)}


def _plain(point: object) -> PointId:
    return point if isinstance(point, int) else str(point)


def _row(record: edge.Record | edge.ScoredPoint) -> Row:
    vector = None if record.vector is None else np.asarray(record.vector, dtype=np.float32)
    return Row(_plain(record.id), record.payload or {}, vector)
