"""Points to store: deterministic, each with a vector of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from t1_vectorstore.types import Chunk, ModelIdentity, Point, Vector

DIMENSION = 8
MODEL = ModelIdentity("test-model", "a" * 64, DIMENSION)
OTHER = ModelIdentity("other-model", "b" * 64, DIMENSION)


def vector(seed: int, dimension: int = DIMENSION) -> Vector:
    """A random vector, by its seed."""
    drawn: Vector = np.random.default_rng(seed).standard_normal(dimension).astype(np.float32)
    return drawn


def point(
    chunk_id: str,
    text: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    at: object = None,
    **chunk: Any,
) -> Point:
    """A point; by default its vector depends on its id."""
    text = f"text of {chunk_id[:20]}" if text is None else text
    given: Any = vector(sum(chunk_id.encode("utf-8", "replace"))) if at is None else at
    fields = {"document_id": chunk_id, "start": 0, "end": len(text), **chunk}
    return Point(Chunk(id=chunk_id, text=text, metadata=metadata or {}, **fields), given)


def points(count: int, first: int = 0) -> Iterator[Point]:
    """Numbered points with numbered vectors."""
    for number in range(first, first + count):
        yield point(f"doc {number}", metadata={"number": number, "even": number % 2 == 0}, at=vector(number))
