"""The load: documents in, points out, in a stream and in constant memory.

Each batch of chunks goes through three steps: ask the collection which chunks it holds unchanged, encode the others,
write them. Everything is decided by ids and content hashes, so a load that was interrupted anywhere is completed by
running it again: nothing is encoded or stored twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count, islice
from typing import TypeVar

from t1_vectorstore.chunking import DEFAULT_SIZE, Chunker, chunk_id
from t1_vectorstore.embedder import T1Embedder
from t1_vectorstore.errors import CollectionMismatch
from t1_vectorstore.ids import point_id
from t1_vectorstore.store import Collection
from t1_vectorstore.types import Chunk, Document, Point

BATCH_CHUNKS = 256
"""Chunks that are encoded and written together: the most that an interruption can lose."""

_Item = TypeVar("_Item")
_PROBE = 64  # ids asked for at a time when looking for the chunks of a longer version


@dataclass(frozen=True, slots=True)
class Failure:
    """A document that was not stored, and why. If an earlier version of it was stored, that is still there."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class TruncatedChunk:
    """A stored chunk whose end the model did not read."""

    id: str
    dropped_tokens: int
    total_tokens: int


@dataclass(frozen=True, slots=True)
class LoadProgress:
    """How far a load has got.

    Attributes:
        documents: read from the source so far, good or bad.
        chunks: that the good ones were cut into.
        unchanged: chunks that the collection held already.
        encoded: chunks that the model has read.
        stored: chunks written, and proven to be there.
        removed: chunks of earlier, longer versions that were deleted.
        failed: documents that were not stored.
        truncated: stored chunks whose end the model did not read.
        tokens: that the model has read.
        seconds: since the load began.
    """

    documents: int = 0
    chunks: int = 0
    unchanged: int = 0
    encoded: int = 0
    stored: int = 0
    removed: int = 0
    failed: int = 0
    truncated: int = 0
    tokens: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class LoadReport(LoadProgress):
    """What a load did: the counts of ``LoadProgress``, and what is behind two of them.

    Attributes:
        failures: the documents that were not stored, in the order in which that was found.
        truncations: the chunks whose end the model did not read.
    """

    failures: Sequence[Failure] = ()
    truncations: Sequence[TruncatedChunk] = ()


def chunker_for(embedder: T1Embedder, *, size: int = DEFAULT_SIZE, overlap: int = 0) -> Chunker:
    """Chunks of at most ``size`` characters, and never of more tokens than the model reads."""

    def length(text: str) -> int:
        if len(text) > size:
            return len(text)
        excess = embedder.excess_tokens(text) if text else 0
        return size + excess if excess else len(text)

    return Chunker(size, overlap, length)


def load(
    documents: Iterable[Document],
    embedder: T1Embedder,
    collection: Collection,
    *,
    chunker: Chunker | None = None,
    batch_chunks: int = BATCH_CHUNKS,
    on_progress: Callable[[LoadProgress], None] | None = None,
) -> LoadReport:
    """Bring documents into a collection: encode and write what is new or changed, and nothing else.

    A document replaces an earlier one of the same id as a whole: chunks that its new text no longer has are deleted. A
    document that cannot be stored is reported and takes no other along. Of several documents with one id in the same
    load the first is kept; the others are reported, unless they are the same.

    Args:
        documents: any iterable; read as the load goes on.
        embedder: the model whose vectors the collection holds.
        collection: where to.
        chunker: cuts long documents; ``chunker_for(embedder)`` when None.
        batch_chunks: how many chunks are encoded and written together.
        on_progress: told after each step of the work.

    Raises:
        CollectionMismatch: the collection holds another model's vectors. Nothing has been done then.
        ValueError: ``batch_chunks`` is less than 1.
        TypeError: something other than a document.
        BackendError: the model failed. What was stored before stays, and a rerun goes on from there.
        StoreError: the collection failed; likewise.
    """
    if collection.identity.fingerprint != embedder.identity.fingerprint:
        raise CollectionMismatch(
            f"{collection.location} holds vectors of model {collection.identity.model!r}, and the embedder is "
            f"{embedder.identity.model!r}; load that model, or another collection"
        )
    if isinstance(documents, Document) or not isinstance(documents, Iterable):
        raise TypeError(f"expected several documents, got {type(documents).__name__}; wrap a single one in a list")
    if batch_chunks < 1:
        raise ValueError(f"batch_chunks must be at least 1, got {batch_chunks!r}")
    run = _Load(embedder, collection, chunker or chunker_for(embedder), batch_chunks, on_progress)
    for document in documents:
        run.add(document)
    run.flush()
    return run.report()


class _Load:
    """One load under way: what has happened, and the batch that is being filled."""

    def __init__(
        self,
        embedder: T1Embedder,
        collection: Collection,
        chunker: Chunker,
        batch_chunks: int,
        on_progress: Callable[[LoadProgress], None] | None,
    ) -> None:
        self._embedder = embedder
        self._collection = collection
        self._chunker = chunker
        self._batch_chunks = batch_chunks
        self._on_progress = on_progress
        self._started = time.perf_counter()
        self._progress = LoadProgress()
        self._failures: list[Failure] = []
        self._truncations: list[TruncatedChunk] = []
        self._batch: list[Chunk] = []
        self._ending: dict[str, int] = {}  # documents whose last chunk is in the batch, and how many chunks each has
        self._broken: set[str] = set()  # documents of which a chunk was refused
        self._seen: set[int] = set()  # all ids of this load, as hashes: a set of the ids themselves would not be small

    def add(self, document: Document) -> None:
        """Cut one document and put its chunks into the batch, which is worked off whenever it is full."""
        if not isinstance(document, Document):
            raise TypeError(f"a load takes Documents, got {type(document).__name__}; write Document(text=...)")
        self._count(documents=1)
        try:
            chunks = self._cut(document)
            name = chunks[0].document_id
            repeated = self._repeats(name, chunks)
        except (ValueError, TypeError) as error:
            self._fail(str(document.id), error)
            return
        self._count(chunks=len(chunks), unchanged=len(chunks) if repeated else 0)
        for chunk in () if repeated else chunks:
            self._batch.append(chunk)
            if chunk is chunks[-1]:
                self._ending[name] = len(chunks)
            if len(self._batch) >= self._batch_chunks:
                self.flush()

    def flush(self) -> None:
        """Work off the batch: skip what is there, encode, write, and delete what longer versions have left."""
        batch, ending = self._batch, self._ending
        self._batch, self._ending = [], {}
        probes = {left: name for name, chunks in ending.items() for left in islice(_leftover_ids(name, chunks), 2)}
        known = self._collection.content_hashes([*(chunk.id for chunk in batch), *probes])
        fresh = [chunk for chunk in batch if known.get(chunk.id) != chunk.content_hash]
        self._count(unchanged=len(batch) - len(fresh))
        points = self._encode([chunk for chunk in fresh if chunk.document_id not in self._broken])
        self._write([point for point in points if point.chunk.document_id not in self._broken])
        for name in dict.fromkeys(name for left, name in probes.items() if left in known):
            if name not in self._broken:
                self._delete_leftovers(name, ending[name])

    def report(self) -> LoadReport:
        """What has happened, in full."""
        return LoadReport(
            **asdict(self._progress), failures=tuple(self._failures), truncations=tuple(self._truncations)
        )

    def _cut(self, document: Document) -> list[Chunk]:
        """Cut a document; whatever can be seen to be unusable is refused here, before the model is at work."""
        chunks = self._chunker.split(document)
        for chunk in chunks:
            point_id(chunk.id)
            chunk.content_hash  # noqa: B018 - refuses metadata that is not JSON
        return chunks

    def _repeats(self, name: str, chunks: Sequence[Chunk]) -> bool:
        """Whether this load had the very same document before.

        Raises:
            ValueError: it had another one under the same id.
        """
        hashes = {hash(taken) for taken in (name, *(chunk.id for chunk in chunks))}
        if self._seen.isdisjoint(hashes):
            self._seen |= hashes
            return False
        self.flush()
        known = self._collection.content_hashes(chunk.id for chunk in chunks)
        if all(known.get(chunk.id) == chunk.content_hash for chunk in chunks):
            return True
        raise ValueError("another document of this load has this id and came first; give each its own")

    def _encode(self, chunks: Sequence[Chunk]) -> list[Point]:
        """Embed chunks; where a text is refused, halve until it is found, so that the others are embedded."""
        if not chunks:
            return []
        try:
            embeddings = self._embedder.embed_documents(
                [chunk.text for chunk in chunks],
                truncation="allow",
                on_done=lambda more: self._count(encoded=more),
            )
        except (ValueError, TypeError) as error:
            if len(chunks) > 1:
                return [point for half in _halves(chunks) for point in self._encode(half)]
            self._break(chunks[0], error)
            return []
        cuts = [TruncatedChunk(chunks[t.index].id, t.dropped_tokens, t.total_tokens) for t in embeddings.truncated]
        self._truncations += cuts
        self._count(tokens=embeddings.tokens, truncated=len(cuts))
        return [Point(chunk, vector) for chunk, vector in zip(chunks, embeddings.vectors, strict=True)]

    def _write(self, points: Sequence[Point]) -> None:
        """Write points; where one is refused, halve until it is found. Writing a point twice changes nothing."""
        if not points:
            return
        try:
            stored = self._collection.upsert(points)
        except (ValueError, TypeError) as error:
            if len(points) > 1:
                for half in _halves(points):
                    self._write(half)
            else:
                self._break(points[0].chunk, error)
        else:
            self._count(stored=stored)

    def _delete_leftovers(self, name: str, chunks: int) -> None:
        """Delete the chunks of a longer version, last first: the next load finds what an interruption leaves."""
        leftovers: list[str] = []
        ids = _leftover_ids(name, chunks)
        while True:
            asked = list(islice(ids, _PROBE))
            found = self._collection.get(asked)
            leftovers += [left for left in asked if left in found and found[left].document_id == name]
            if asked[-1] not in found:
                break
        self._count(removed=self._collection.delete(reversed(leftovers)))

    def _break(self, chunk: Chunk, error: Exception) -> None:
        if chunk.document_id not in self._broken:
            self._broken.add(chunk.document_id)
            self._fail(chunk.document_id, error)

    def _fail(self, name: str, error: Exception) -> None:
        self._failures.append(Failure(name, str(error)))
        self._count(failed=1)

    def _count(self, **more: int) -> None:
        counts = {name: getattr(self._progress, name) + number for name, number in more.items()}
        self._progress = replace(self._progress, seconds=time.perf_counter() - self._started, **counts)
        if self._on_progress is not None:
            self._on_progress(self._progress)


def _leftover_ids(name: str, chunks: int) -> Iterator[str]:
    """The ids, without end, that longer versions of a document of so many chunks may have left, in the text's order."""
    if chunks > 1:
        yield name
    yield from (chunk_id(name, index) for index in count(chunks if chunks > 1 else 0))


def _halves(items: Sequence[_Item]) -> tuple[Sequence[_Item], Sequence[_Item]]:
    middle = len(items) // 2
    return items[:middle], items[middle:]
