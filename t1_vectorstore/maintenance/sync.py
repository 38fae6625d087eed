"""Make one collection hold what another one holds, with another model's vectors.

Both are read side by side in the order of their point ids, and only differences are encoded and written. So an
interrupted pass is completed by the next one, a pass catches up with points written in the meantime, and a pass without
differences proves that both are equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from t1_vectorstore.collection import Collection
from t1_vectorstore.collection.audit import StoredPoint, stored_points
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.engines.ids import PointId
from t1_vectorstore.errors import StoreError
from t1_vectorstore.indexing.refusals import embed_or_refuse
from t1_vectorstore.iteration import batched
from t1_vectorstore.types import Chunk, Point

BATCH_CHUNKS = 256
"""Number of chunks that are encoded and written together: the most that an interruption can lose."""

Change: TypeAlias = tuple[Literal["write", "delete"], StoredPoint]


@dataclass(slots=True)
class SyncPass:
    """Counts of one pass.

    Attributes:
        compared: Number of points in the old collection.
        written: Number of points that the new one lacked or held otherwise.
        deleted: Number of points that only the new one had.
        tokens: Number of tokens that the model read.
        truncated: Ids of chunks whose end the model did not read.
        refused: Chunks that the model cannot embed, each with the reason, by id. The new collection lacks them.
    """

    compared: int = 0
    written: int = 0
    deleted: int = 0
    tokens: int = 0
    truncated: list[str] = field(default_factory=list)
    refused: dict[str, tuple[Chunk, str]] = field(default_factory=dict)

    @property
    def changes(self) -> int:
        """Number of differences found, without the refused chunks, which stay different."""
        return self.written + self.deleted


def find_changes(old: Collection, new: Collection, on_compared: Callable[[], None] = lambda: None) -> Iterator[Change]:
    """Yield the changes that make the new collection hold what the old one holds.

    ``on_compared`` is called after each point of the old collection.

    Raises:
        StoreError: A point of the old collection is damaged, or has content that would be lost.
    """
    # Merge two sorted sequences: the point that comes first is missing on the other side.
    old_points, new_points = stored_points(old), stored_points(new)
    left, right = next(old_points, None), next(new_points, None)
    while left is not None or right is not None:
        if left is None or (right is not None and _sort_key(right.point) < _sort_key(left.point)):
            assert right is not None
            yield "delete", right
            right = next(new_points, None)
            continue
        _check_copyable(left, old)
        if right is None or _sort_key(left.point) < _sort_key(right.point):
            yield "write", left
        else:
            if not _is_same(left, right):
                yield "write", left
            right = next(new_points, None)
        on_compared()
        left = next(old_points, None)


def sync_once(
    old: Collection,
    new: Collection,
    embedder: T1Embedder | None,
    *,
    on_progress: Callable[[SyncPass], None] | None = None,
) -> SyncPass:
    """Run one pass: write and delete in the new collection what differs from the old one.

    A chunk that the model cannot embed is collected in ``SyncPass.refused``, and the others are written. ``embedder``
    is the new collection's model; ``None`` copies the vectors. ``on_progress`` is called after each batch.

    Raises:
        StoreError: A point of the old collection cannot be copied; the message names it.
        BackendError: The model failed.
    """
    done = SyncPass()

    def count_compared() -> None:
        done.compared += 1

    for batch in batched(find_changes(old, new, count_compared), BATCH_CHUNKS):
        to_delete = [stored.chunk.id for change, stored in batch if change == "delete"]
        to_write = [stored.chunk for change, stored in batch if change == "write"]
        done.deleted += new.delete(to_delete) if to_delete else 0
        if to_write:
            # Without a model, copy the points as they are now: what was deleted meanwhile is left to the next pass.
            points = _encode(to_write, embedder, done) if embedder else old.read_points(c.id for c in to_write)
            done.written += new.upsert(points)
            # An earlier version of a refused chunk must not stay in its place.
            new.delete(chunk.id for chunk in to_write if chunk.id in done.refused)
        if on_progress is not None:
            on_progress(done)
    return done


def _encode(chunks: Sequence[Chunk], embedder: T1Embedder, done: SyncPass) -> list[Point]:
    def refuse(chunk: Chunk, error: Exception) -> None:
        done.refused[chunk.id] = chunk, str(error)

    points: list[Point] = []
    for part, embeddings in embed_or_refuse(embedder, chunks, lambda chunk: chunk.text, refuse):
        done.tokens += embeddings.tokens
        done.truncated += [part[cut.index].id for cut in embeddings.truncated]
        points += [Point(chunk, vector) for chunk, vector in zip(part, embeddings.vectors, strict=True)]
    return points


def _is_same(old: StoredPoint, new: StoredPoint) -> bool:
    content_hash = old.chunk.content_hash
    return new.chunk.id == old.chunk.id and new.written_hash == content_hash == new.chunk.content_hash


def _check_copyable(stored: StoredPoint, old: Collection) -> None:
    if not stored.intact:
        raise StoreError(
            f"the chunk {stored.chunk.id!r} in {old.location} is damaged: it does not match the hash stored with it; "
            "index its document again, or delete it"
        )
    if stored.other_keys:
        raise StoreError(
            f"the point {stored.chunk.id!r} in {old.location} has {stored.other_keys[0]!r} in its payload, which would "
            "be lost; index its source into a new place instead"
        )


def _sort_key(point: PointId) -> tuple[bool, int, str]:
    """Return the order of the engines' pages: numbers, then UUIDs."""
    return (False, point, "") if isinstance(point, int) else (True, 0, point)
