"""The seam between a collection and what keeps its points: a few verbs in plain records, and nothing of Qdrant's.

Above it (``store``) are validation, ids, batches, verification and payloads, once. Below it are the engines, each
the only owner of its library and of that library's errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from t1_vectorstore.engines.ids import PointId
from t1_vectorstore.engines.schema import Schema
from t1_vectorstore.options import Quantization
from t1_vectorstore.types import Fusion, Indexing, LoadRecord, Vector

EngineKind: TypeAlias = Literal["embedded", "memory", "server"]
FilterJSON: TypeAlias = Mapping[str, Any]
"""A filter in the JSON of Qdrant's REST interface, which every engine can translate for its library."""

RRF_K = 2
"""Reciprocal rank fusion adds ``1 / (k + rank)``, the best rank being 0; every engine is told. 2 lets what one ranking
is sure of come first; with the 60 of the literature, whatever both rankings have anywhere outweighs it: nDCG@10 of
an earlier t1-mini on unseen three-hop questions was .93 with 2, .84 with 10 and .82 with 60."""

OVERSAMPLING: Mapping[Quantization, float] = {"int8": 2.0, "binary": 16.0}
"""How many times as many candidates as are wanted a search takes from quantised vectors, before the full ones decide.
On 20,000 clustered vectors of 384 dimensions recall@10 is then 1.00 and .97; with just as many, .94 and .21."""

SPARSE = "bm25"
"""The name of the sparse vector beside the dense one, which has none."""


@dataclass(frozen=True, slots=True)
class Sparse:
    """A sparse vector: the dimensions that are not zero, and their values."""

    indices: Sequence[int]
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Row:
    """One point as an engine keeps it.

    Attributes:
        id: the point's.
        payload: JSON.
        vector: absent where it was not asked for.
        size: about how many bytes a row to be written takes on the wire.
        sparse: its terms, only to be written, and only in a hybrid collection; absent for a text without words.
    """

    id: PointId
    payload: dict[str, Any]
    vector: Vector | None = None
    size: int = 0
    sparse: Sparse | None = None


@dataclass(frozen=True, slots=True)
class Nearest:
    """What to look for; one query to an engine.

    Attributes:
        vector: of unit length.
        limit: how many rows at most.
        offset: how many of the best to skip; only without ``diversity`` (servers then count it twice) and ``sparse``.
        filter: what the rows must satisfy.
        diversity: choose by maximal marginal relevance among the nearest ``candidates``; 0 is relevance only.
        sparse: fuse the nearest ``candidates`` by the vector with as many by these terms.
        fusion: by what rule; without one the rows are ranked by the terms alone.
        candidates: see there.
    """

    vector: Vector
    limit: int
    offset: int = 0
    filter: FilterJSON | None = None
    diversity: float | None = None
    sparse: Sparse | None = None
    fusion: Fusion | None = "rrf"
    candidates: int = 0


Scored: TypeAlias = tuple[float, Row]
"""A row and what the query scored it: the cosine similarity, that of the terms, or the fused score of both."""


class Engine(Protocol):
    """What keeps the points of one collection. Thread-safe; every error is one of this package's."""

    kind: EngineKind
    schema: Schema

    def write(self, rows: Sequence[Row]) -> None:
        """Insert or replace rows; their vectors are finite, of unit length and of the right dimension.

        Raises:
            WriteRefused: the engine does not take one of them, for what it holds.
        """

    def read(self, ids: Sequence[PointId], *, fields: Sequence[str] | None = None, vectors: bool = False) -> list[Row]:
        """The rows that exist among ``ids``, in no order; ``fields`` limits the payload to some paths."""

    def erase(self, ids: Sequence[PointId]) -> None:
        """Remove points; ids that do not exist are ignored."""

    def nearest(self, query: Nearest) -> list[Scored]:
        """The rows that answer a query, best first; where terms were asked for they have their vectors."""

    async def anearest(self, query: Nearest) -> list[Scored]:
        """``nearest`` without holding up the event loop."""

    def count(self, filter: FilterJSON | None) -> int:
        """How many points match, exactly."""

    def page(
        self,
        filter: FilterJSON | None,
        *,
        limit: int,
        after: PointId | None,
        fields: Sequence[str] | None = None,
        vectors: bool = False,
    ) -> tuple[list[Row], PointId | None]:
        """One page of rows in the order of point ids, and where the next page starts (``None``: there is none)."""

    def disk_bytes(self) -> int | None:
        """Bytes used on disk, where known."""

    def defer_indexing(self) -> None:
        """Build no graph until indexing is restored, and remember in the collection what to restore."""

    def restore_indexing(self) -> None:
        """End ``defer_indexing``, whoever began it; otherwise do nothing. Indexing that waits goes on."""

    def indexing(self) -> Indexing | None:
        """What the optimizer is doing, where there is one."""

    def latest_load(self) -> LoadRecord | None:
        """What was noted last, by whomever."""

    def note_load(self, load: LoadRecord) -> None:
        """Remember a load in the collection; one that is not of this package's making is left alone."""

    def optimize(self) -> None:
        """Make searches of many points faster, where the engine does not do so by itself."""

    def close(self) -> None:
        """Release everything; calling it twice is harmless."""


class WithoutOptimizer:
    """The part of an engine that does nothing behind the caller's back: there is nothing to defer."""

    def defer_indexing(self) -> None:
        """Nothing to do."""

    def restore_indexing(self) -> None:
        """Nothing to do."""

    def indexing(self) -> None:
        """There is no optimizer."""
