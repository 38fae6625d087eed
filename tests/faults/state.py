"""The exact content of a collection."""

from __future__ import annotations

from typing import TypeAlias

from t1_vectorstore.collection import Collection
from t1_vectorstore.types import Chunk

Contents: TypeAlias = dict[str, tuple[Chunk, str, bytes]]


def contents(collection: Collection) -> Contents:
    """Return every point by its id: the chunk, its stored content hash, and the bytes of its vector."""
    points = {point.chunk.id: point for point in collection.scroll(with_vectors=True)}
    hashes = collection.content_hashes(points)
    assert len(points) == collection.count(), "two points have one id"
    return {name: (point.chunk, hashes[name], bytes(point.vector.data)) for name, point in points.items()}
