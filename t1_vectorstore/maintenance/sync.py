"""Make one collection hold what another one holds, with another model's vectors.

Both are read side by side in the order of their point ids, and only what differs is encoded and written. So a pass that
was interrupted is completed by the next one, a pass catches up with what was written meanwhile, and a pass that finds
nothing is the proof that both are equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from t1_vectorstore.collection import Collection
from t1_vectorstore.collection.audit import StoredPoint, stored_points
from t1_vectorstore.collection.writer import batched
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.engines.ids import PointId
from t1_vectorstore.errors import StoreError
from t1_vectorstore.types import Chunk, Point

BATCH_CHUNKS = 256
"""Chunks that are encoded and written together: the most that an interruption can lose."""

Change: TypeAlias = tuple[Literal["write", "erase"], StoredPoint]


@dataclass(slots=True)
class Pass:
    """What one pass has done.

    Attributes:
        compared: points of the old collection.
        written: points that the new one did not have, or had otherwise.
        erased: points that only the new one had.
        tokens: that the model has read.
        truncated: ids of chunks whose end the model did not read.
    """

    compared: int = 0
    written: int = 0
    erased: int = 0
    tokens: int = 0
    truncated: list[str] = field(default_factory=list)

    @property
    def changes(self) -> int:
        """What was different."""
        return self.written + self.erased


def changes(old: Collection, new: Collection, on_compared: Callable[[], None] | None = None) -> Iterator[Change]:
    """What has to be done to the new collection so that it holds what the old one holds.

    Raises:
        StoreError: a point of the old collection is damaged, or holds what this package would not carry over.
    """
    ours, theirs = stored_points(old), stored_points(new)
    left, right = next(ours, None), next(theirs, None)
    while left is not None or right is not None:
        if right is None or (left is not None and _place(left.point) < _place(right.point)):
            assert left is not None
            yield "write", _sound(left, old)
        elif left is None or _place(right.point) < _place(left.point):
            yield "erase", right
            right = next(theirs, None)
            continue
        else:
            if not _same(_sound(left, old), right):
                yield "write", left
            right = next(theirs, None)
        if on_compared is not None:
            on_compared()
        left = next(ours, None)


def mirror(
    old: Collection,
    new: Collection,
    embedder: T1Embedder | None,
    *,
    on_progress: Callable[[Pass], None] | None = None,
) -> Pass:
    """One pass: write and erase in the new collection what differs from the old one.

    Args:
        old: read.
        new: written.
        embedder: the new collection's model; ``None`` takes the vectors of the old one, whose model it is.
        on_progress: told after each batch.

    Raises:
        StoreError: a point of the old collection cannot be carried over; names it.
        BackendError: the model failed.
    """
    done = Pass()

    def compared() -> None:
        done.compared += 1

    for batch in batched(changes(old, new, compared), BATCH_CHUNKS):
        gone = [stored.chunk.id for what, stored in batch if what == "erase"]
        fresh = [stored.chunk for what, stored in batch if what == "write"]
        done.erased += new.delete(gone) if gone else 0
        if fresh:
            points = _encode(fresh, embedder, done) if embedder else _copy(fresh, old)
            done.written += new.upsert(points)
        if on_progress is not None:
            on_progress(done)
    return done


def _encode(chunks: Sequence[Chunk], embedder: T1Embedder, done: Pass) -> list[Point]:
    try:
        embeddings = embedder.embed_documents([chunk.text for chunk in chunks], truncation="allow")
    except (ValueError, TypeError) as error:
        if len(chunks) > 1:
            middle = len(chunks) // 2
            return [*_encode(chunks[:middle], embedder, done), *_encode(chunks[middle:], embedder, done)]
        raise StoreError(f"the chunk {chunks[0].id!r} cannot be embedded: {error}; delete it first") from error
    done.tokens += embeddings.tokens
    done.truncated += [chunks[cut.index].id for cut in embeddings.truncated]
    return [Point(chunk, vector) for chunk, vector in zip(chunks, embeddings.vectors, strict=True)]


def _copy(chunks: Sequence[Chunk], old: Collection) -> list[Point]:
    """Points as they are now: what has gone meanwhile is left to the next pass."""
    return list(old.read_points(chunk.id for chunk in chunks))


def _same(old: StoredPoint, new: StoredPoint) -> bool:
    wanted = old.chunk.content_hash
    return new.chunk.id == old.chunk.id and new.written_hash == wanted == new.chunk.content_hash


def _sound(stored: StoredPoint, old: Collection) -> StoredPoint:
    """The point, if it may be carried over as what it says it is."""
    if not stored.intact:
        raise StoreError(
            f"the chunk {stored.chunk.id!r} in {old.location} is damaged: it does not fit the hash stored with it; "
            "index its document again, or delete it"
        )
    if stored.other_keys:
        raise StoreError(
            f"the point {stored.chunk.id!r} in {old.location} has {stored.other_keys[0]!r} in its payload, which would be "
            "lost; index its source into a new place instead"
        )
    return stored


def _place(point: PointId) -> tuple[bool, int, str]:
    """The order in which engines page: numbers, then UUIDs."""
    return (False, point, "") if isinstance(point, int) else (True, 0, point)
