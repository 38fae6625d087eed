"""What a collection really holds, point by point: for proofs that trust nothing but what can be recomputed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from t1_vectorstore.engines import OWN_KEY
from t1_vectorstore.ids import PointId, point_id
from t1_vectorstore.store.collection import Collection
from t1_vectorstore.store.payload import stored_hash, to_chunk
from t1_vectorstore.store.writes import BATCH_POINTS, batched
from t1_vectorstore.types import Chunk, Vector


@dataclass(frozen=True, slots=True)
class Stored:
    """A point as it is found.

    Attributes:
        point: what the engine files it under.
        chunk: what its payload says.
        claimed: the content hash that was written beside the text; ``None`` where another package wrote the point.
        others: keys of its payload that are neither text nor metadata: another package's.
    """

    point: PointId
    chunk: Chunk
    claimed: str | None
    others: tuple[str, ...] = ()

    @property
    def intact(self) -> bool:
        """Whether text, metadata and id are those that were written."""
        if self.claimed is None:
            return True
        return self.claimed == self.chunk.content_hash and self.point == point_id(self.chunk.id)


@dataclass(frozen=True, slots=True)
class Proof:
    """How many points a collection holds, and a digest of all their ids, texts and metadata, whatever their order."""

    points: int
    digest: str


def audit(collection: Collection) -> Iterator[Stored]:
    """Every point, in the order of what the engine files it under, which is the same on every engine."""
    schema = collection._schema
    known = {schema.content_key, schema.metadata_key, OWN_KEY}
    for row in collection._all(None, BATCH_POINTS, False):
        others = tuple(sorted(row.payload.keys() - known)) if schema.metadata_key else ()
        yield Stored(row.id, to_chunk(row, schema), stored_hash(row), others)


def stored_vectors(collection: Collection, ids: Iterable[str]) -> Iterator[tuple[Chunk, Vector]]:
    """The chunks that exist among ``ids``, with their vectors of unit length."""
    for wanted in batched(ids, BATCH_POINTS):
        for row in collection._engine.read([point_id(name) for name in wanted], vectors=True):
            if row.vector is not None:
                yield to_chunk(row, collection._schema), row.vector


def prove(collection: Collection) -> Proof:
    """Read the whole collection and sum it up."""
    points, total = 0, 0
    for stored in audit(collection):
        line = f"{stored.point}\0{stored.claimed}\0{stored.chunk.content_hash}"
        total += int.from_bytes(hashlib.sha256(line.encode()).digest(), "big")
        points += 1
    return Proof(points, f"{total % 2**256:064x}")
