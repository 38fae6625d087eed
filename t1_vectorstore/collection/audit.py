"""The stored points of a collection as they were read, for checks that compute everything again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from t1_vectorstore.collection.collection import Collection
from t1_vectorstore.collection.payload import stored_hash, to_chunk
from t1_vectorstore.engines import OWN_KEY
from t1_vectorstore.engines.ids import PointId, point_id
from t1_vectorstore.types import Chunk


@dataclass(frozen=True, slots=True)
class StoredPoint:
    """A point as it was read.

    Attributes:
        point: The engine's id of the point.
        chunk: The chunk in its payload.
        written_hash: The content hash stored beside the text; ``None`` if another package wrote the point.
        other_keys: Payload keys other than text and metadata: another package's.
    """

    point: PointId
    chunk: Chunk
    written_hash: str | None
    other_keys: tuple[str, ...] = ()

    @property
    def intact(self) -> bool:
        """Whether text, metadata and id are those that were written."""
        if self.written_hash is None:
            return True
        return self.written_hash == self.chunk.content_hash and self.point == point_id(self.chunk.id)


@dataclass(frozen=True, slots=True)
class CollectionDigest:
    """The number of points of a collection, and a digest of their ids, texts and metadata in any order."""

    points: int
    digest: str


def stored_points(collection: Collection) -> Iterator[StoredPoint]:
    """Read every point, in the order of the engine's point ids, which is the same on each engine."""
    schema = collection.schema
    own_keys = {schema.content_key, schema.metadata_key, OWN_KEY}
    for row in collection.scan():
        others = tuple(sorted(row.payload.keys() - own_keys)) if schema.metadata_key else ()
        yield StoredPoint(row.id, to_chunk(row, schema), stored_hash(row), others)


def digest_of(collection: Collection) -> CollectionDigest:
    """Read the whole collection and compute its digest."""
    points, total = 0, 0
    for stored in stored_points(collection):
        line = f"{stored.point}\0{stored.written_hash}\0{stored.chunk.content_hash}"
        total += int.from_bytes(hashlib.sha256(line.encode()).digest(), "big")  # a sum does not depend on the order
        points += 1
    return CollectionDigest(points, f"{total % 2**256:064x}")
