"""The interface between a collection and the engine that stores its points.

A collection validates, assigns ids, batches and verifies. An engine stores rows and answers queries; it is the only
code that uses its library, and it converts the library's errors to those of this package.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np

from t1_vectorstore.engines.ids import PointId
from t1_vectorstore.engines.schema import NoteName, Schema
from t1_vectorstore.forks import ForkSafeLock
from t1_vectorstore.options import Quantization
from t1_vectorstore.types import Fusion, Indexing, Vector

EngineKind: TypeAlias = Literal["embedded", "memory", "server", "service"]
FilterJSON: TypeAlias = Mapping[str, Any]
"""A filter in the JSON of Qdrant's REST interface, which every engine can translate for its library."""

RRF_K = 2
"""The constant of reciprocal rank fusion, which adds ``1 / (k + rank)``, the best rank being 0. With 2, the best hits
of one ranking come first. With the 60 of the literature, any hit of both rankings comes before them: nDCG@10 of an
earlier t1-mini on unseen three-hop questions was .93 with 2, .84 with 10 and .82 with 60."""

OVERSAMPLING: Mapping[Quantization, float] = {"int8": 2.0, "binary": 16.0}
"""Number of candidates that a search takes from quantised vectors, as a multiple of the limit, before the full vectors
decide. On 20,000 clustered vectors of 384 dimensions recall@10 is then 1.00 and .97; without it, .94 and .21."""


@dataclass(frozen=True, slots=True)
class Sparse:
    """A sparse vector: the dimensions that are not zero, and their values."""

    indices: Sequence[int]
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Row:
    """One point as an engine stores it.

    Attributes:
        id: The engine's id of the point.
        payload: JSON.
        vector: ``None`` if it was not read.
        size: Approximate number of bytes that a request to write the row takes.
        sparse: Terms of the text, to be written; only in a hybrid collection, and ``None`` for a text without words.
    """

    id: PointId
    payload: dict[str, Any]
    vector: Vector | None = None
    size: int = 0
    sparse: Sparse | None = None


@dataclass(frozen=True, slots=True)
class Nearest:
    """One query to an engine.

    Attributes:
        vector: Query vector of unit length.
        limit: Maximum number of rows.
        offset: Number of best rows to skip. Not for ``diversity``, for which servers skip twice, or a fusion.
        filter: Condition on the rows.
        diversity: Choose by maximal marginal relevance among the nearest ``candidates``; 0 is relevance only.
        vectors: Rank by these instead: the nearest ``candidates`` of each, fused by their ranks.
        sparse: Fuse the nearest ``candidates`` by the vector with as many by these terms.
        fusion: How they are fused; ``None`` ranks by the terms alone.
        candidates: Number of candidates.
        params: Qdrant's search parameters.
        consistency: Qdrant's read consistency, for servers.
    """

    vector: Vector
    limit: int
    offset: int = 0
    filter: FilterJSON | None = None
    diversity: float | None = None
    vectors: Sequence[Vector] = ()
    sparse: Sparse | None = None
    fusion: Fusion | None = "rrf"
    candidates: int = 0
    params: Mapping[str, Any] | None = None
    consistency: Any = None

    @property
    def scored_by_cosine(self) -> bool:
        """Whether the scores are cosine similarities: neither fused, nor of terms."""
        return self.sparse is None and not self.vectors


Scored: TypeAlias = tuple[float, Row]
"""A row and its score: the cosine similarity, the score of the terms, or the fused score of both."""


class Engine(Protocol):
    """Stores the points of one collection. Thread-safe; every error is one of this package's.

    The methods that have a body are those of an engine in this process, without an optimizer in the background.
    """

    kind: EngineKind
    schema: Schema
    write_lock: ForkSafeLock
    """Held by a writer from its first read to its last, so that writers in this process take turns. Reentrant."""

    def write(self, rows: Sequence[Row]) -> None:
        """Insert or replace rows; their vectors are finite, of unit length and of the right dimension.

        Raises:
            WriteRefused: The engine does not accept the content of a row.
        """

    def read(self, ids: Sequence[PointId], *, fields: Sequence[str] | None = None, vectors: bool = False) -> list[Row]:
        """Return the rows that exist among ``ids``, in no order; ``fields`` limits the payload to some paths."""

    def erase(self, ids: Sequence[PointId]) -> None:
        """Delete points; ids that do not exist are ignored."""

    def nearest(self, query: Nearest) -> list[Scored]:
        """Answer a query, best row first; if its scores are not cosines, the rows have their vectors."""

    async def anearest(self, query: Nearest) -> list[Scored]:
        """``nearest`` without blocking the event loop."""
        return await asyncio.to_thread(self.nearest, query)

    def count(self, filter: FilterJSON | None) -> int:
        """Return the exact number of points that match."""

    def page(
        self,
        filter: FilterJSON | None,
        *,
        limit: int,
        after: PointId | None,
        fields: Sequence[str] | None = None,
        vectors: bool = False,
    ) -> tuple[list[Row], PointId | None]:
        """Return one page of rows in the order of point ids, and where the next page starts (``None`` at the end)."""

    def index_kinds(self) -> Mapping[str, str]:
        """Return the kinds of the payload indexes, by payload path."""
        return {path: kind for path, (kind, _) in self.schema.payload_indexes.items()}

    def words_need_index(self) -> bool:
        """Return whether a filter by words compares words only in a field with a text index."""
        return False

    def disk_bytes(self) -> int | None:
        """Return the number of bytes used on disk, if known."""
        return None

    def defer_indexing(self) -> None:
        """Build no graph until indexing is restored; the collection stores the setting to restore."""
        return

    def restore_indexing(self) -> None:
        """End ``defer_indexing``, also another client's; wake an optimizer that waits."""
        return

    def indexing(self) -> Indexing | None:
        """Return the state of the optimizer, if there is one."""
        return None

    def has_previous_build(self) -> bool:
        """Return whether the build before the last reindex is kept."""
        return False

    def read_note(self, name: NoteName) -> Any:  # noqa: ANN401 - JSON
        """Return the record that was written last, by any client; ``None`` if there is none."""

    def write_note(self, name: NoteName, record: Mapping[str, Any]) -> None:
        """Store a record, as JSON, unless another package created the collection."""

    def optimize(self) -> None:
        """Build a graph, if the engine does not do so by itself."""
        return

    def close(self) -> None:
        """Release everything; calling it twice is harmless."""


def payload_selector(fields: Sequence[str] | None) -> bool | list[str]:
    """Return the ``with_payload`` argument of Qdrant's libraries."""
    return True if fields is None else list(fields)


def vector_selector(vectors: bool, schema: Schema) -> Any:  # noqa: ANN401 - a flag, or a list of names
    """Return the ``with_vectors`` argument of Qdrant's libraries: the dense vector only."""
    return [schema.vector_name] if vectors and schema.has_dense else False


def to_point_id(found: object) -> PointId:
    """Convert a library's point id."""
    return found if isinstance(found, int) else str(found)


def row_of(record: Any, schema: Schema) -> Row:  # noqa: ANN401 - a record or a scored point of either library
    """Convert a point that a library has read."""
    found = record.vector
    if isinstance(found, dict):  # by name; another package may have written the point without this vector
        found = found.get(schema.vector_name)
    vector = None if found is None else np.asarray(found, dtype=np.float32)
    return Row(to_point_id(record.id), record.payload or {}, vector)
