"""The steps that each batch of a load goes through: look up, encode, write."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, islice

from t1_vectorstore.collection import Collection, PointState
from t1_vectorstore.collection.writer import same_point
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.engines.ids import PointId, point_id
from t1_vectorstore.errors import WriteRefused
from t1_vectorstore.indexing.chunk_documents import PendingChunk, SourceDocument
from t1_vectorstore.indexing.chunking import chunk_id
from t1_vectorstore.indexing.refusals import embed_or_refuse
from t1_vectorstore.indexing.report import LoadCounters, TruncatedChunk
from t1_vectorstore.indexing.seen_ids import SeenIds
from t1_vectorstore.indexing.written_chunks import WrittenChunks
from t1_vectorstore.iteration import halves
from t1_vectorstore.types import Chunk, Point, Vector

_Embedded = tuple[PendingChunk, Vector]
_PROBE_IDS = 64  # requested at a time when chunks of an earlier version are looked for
MAX_BATCHES = 4
"""Maximum number of batches in progress: one in each step, and one that waits for the model."""


@dataclass(slots=True)
class LoadBatch:
    """Chunks that go through the steps together; each step leaves in it what the next one needs.

    Attributes:
        chunks: Chunks to store; after the look-up, only those that are not stored yet.
        outdated: Documents that end in this batch and of which chunks of an earlier version are stored.
        embedded: The chunks with their vectors.
    """

    chunks: list[PendingChunk]
    outdated: list[SourceDocument] = field(default_factory=list)
    embedded: list[_Embedded] = field(default_factory=list)


@dataclass(slots=True)
class BatchSteps:
    """The steps of one load. Each runs in its own thread, on one batch at a time, in order.

    Attributes:
        check_stopped: Called between two forward passes of the model; raises to end the step.
        in_progress: Chunk ids of the last batches, by point; they are perhaps not yet written when the next
            batch is looked up.
    """

    embedder: T1Embedder
    collection: Collection
    seen: SeenIds
    counters: LoadCounters
    written: WrittenChunks
    check_stopped: Callable[[], None] = lambda: None
    in_progress: deque[dict[PointId, str]] = field(default_factory=lambda: deque(maxlen=MAX_BATCHES))

    def look_up(self, batch: LoadBatch) -> None:
        """Keep the chunks that are not stored yet, and the documents with stored chunks of an earlier version."""
        # 1. What is stored under these ids.
        ids = [pending.chunk.id for pending in batch.chunks]
        stored = self.collection.point_states(ids)
        # 2. Refuse ids that fall on another chunk's point, keep what is new or changed, and count the rest.
        self.in_progress.append({})
        fresh = []
        for pending in batch.chunks:
            state = stored.get(pending.chunk.id)
            if (other := self._claim_point(pending.chunk.id, state)) is not None:
                self._refuse(pending.source, same_point(pending.chunk.id, other))
            elif state is None or state.content_hash != pending.content_hash:
                fresh.append(pending)
            else:
                self.counters.count(unchanged=1)
        # 3. With its last chunk a document is complete, and chunks of its earlier version can be looked for.
        last_chunks = [pending for pending in batch.chunks if pending.chunk.index == pending.source.chunk_count - 1]
        batch.outdated = self._outdated([pending.source for pending in last_chunks], ids)
        batch.chunks = fresh

    def _claim_point(self, chunk_id: str, state: PointState | None) -> str | None:
        """Register a chunk id for its point; return another id that has the point, stored or in a batch in progress."""
        point = point_id(chunk_id)
        same_point_ids = [ids[point] for ids in self.in_progress if point in ids]
        if state is not None:
            same_point_ids.append(state.id)
        self.in_progress[-1].setdefault(point, chunk_id)
        return next((other for other in same_point_ids if other != chunk_id), None)

    def _outdated(self, sources: Sequence[SourceDocument], ids: Sequence[str]) -> list[SourceDocument]:
        """Return the documents of which chunks of an earlier version are stored; ``ids`` are chunks of this version."""
        # With an index on document ids, ask which other chunks these documents have.
        if not sources:
            return []
        by_name = {source.id: source for source in sources}
        found = self.collection.chunks_of_documents(by_name, except_ids=ids)
        if found is not None:
            names = {chunk.document_id for chunk in found}
            return [source for source in sources if source.id in names and _leftovers(source, found)]
        # Without an index on document ids, ask for the first two ids that such chunks can have.
        probes = {leftover: source for source in sources for leftover in islice(_leftover_ids(source), 2)}
        outdated = [probes[leftover] for leftover in self.collection.content_hashes(probes)]
        return list({source.id: source for source in outdated}.values())

    def encode(self, batch: LoadBatch) -> None:
        """Embed the chunks that are not stored yet."""
        batch.embedded = self._embed(batch.chunks)
        batch.chunks = []

    def write(self, batch: LoadBatch) -> None:
        """Write the batch, and then delete the chunks that earlier versions left."""
        self._store(batch.embedded)
        for source in batch.outdated:
            if not source.refused:
                self._delete_leftovers(source)

    def _embed(self, chunks: Sequence[PendingChunk]) -> list[_Embedded]:
        parts = embed_or_refuse(
            self.embedder,
            chunks,
            lambda pending: pending.chunk.text,
            lambda pending, error: self._refuse(pending.source, error),
            is_refused=lambda pending: pending.source.refused,
            on_done=self._count_encoded,
        )
        for part, embeddings in parts:
            self.counters.count_truncated(
                [
                    TruncatedChunk(part[text.index].chunk.id, text.dropped_tokens, text.total_tokens)
                    for text in embeddings.truncated
                ]
            )
            self.counters.count(tokens=embeddings.tokens)
        return [embedded for part, embeddings in parts for embedded in zip(part, embeddings.vectors, strict=True)]

    def _count_encoded(self, count: int) -> None:
        self.counters.count(encoded=count)
        self.check_stopped()

    def _store(self, embedded: Sequence[_Embedded]) -> None:
        """Write points. If one is refused, write the others.

        The error may name the refused points. Otherwise the batch is halved until the point is found; writing a half
        again changes nothing.
        """
        embedded = [(pending, vector) for pending, vector in embedded if not pending.source.refused]
        if not embedded:
            return
        try:
            stored = self.collection.write([Point(pending.chunk, vector) for pending, vector in embedded])
        except WriteRefused as error:
            if not error.ids:
                raise
            for pending, _ in embedded:
                if pending.chunk.id in error.ids:
                    self._refuse(pending.source, error)
            self._store(embedded)
        except (ValueError, TypeError) as error:
            if len(embedded) > 1:
                for half in halves(embedded):
                    self._store(half)
            else:
                self._refuse(embedded[0][0].source, error)
        else:
            self.written.add(pending for pending, _ in embedded)
            self.counters.count(stored=stored)

    def _delete_leftovers(self, source: SourceDocument) -> None:
        """Delete the chunks of an earlier version, last first: a rerun then finds those that an interruption leaves."""
        found = self.collection.chunks_of_documents([source.id])
        leftovers = self._probe_leftovers(source) if found is None else _leftovers(source, found)
        self.counters.count(removed=self.collection.delete(reversed(leftovers)))

    def _probe_leftovers(self, source: SourceDocument) -> list[str]:
        """Find the chunks of an earlier version by their ids, up to the first gap."""
        leftovers: list[str] = []
        ids = _leftover_ids(source)
        while True:
            probes = list(islice(ids, _PROBE_IDS))
            found = self.collection.get(probes)
            leftovers += [probe for probe in probes if probe in found and found[probe].document_id == source.id]
            if probes[-1] not in found:
                return leftovers

    def _refuse(self, source: SourceDocument, error: Exception) -> None:
        if not source.refused:
            source.refused = True
            self.seen.mark_failed(source.id)  # pruning then keeps the chunks of its earlier version
            self.counters.count_failure(source.id, str(error), source.document)


# A document of one chunk is stored under its own id, one of several under id#chunk-0, id#chunk-1 and so on. So
# leftovers are the numbered chunks from chunk_count on (all of them, if it is now one chunk), and the unnumbered one,
# if it is now several.


def _first_leftover(source: SourceDocument) -> int:
    """Return the first chunk number that the document does not use."""
    return source.chunk_count if source.chunk_count > 1 else 0


def _leftovers(source: SourceDocument, stored: Iterable[Chunk]) -> list[str]:
    """Return the ids of the stored chunks that an earlier version of a document left, in the order of the text."""
    first = _first_leftover(source)
    own = sorted((chunk.index, chunk.id) for chunk in stored if chunk.document_id == source.id)
    return [
        name
        for index, name in own
        if (name == chunk_id(source.id, index) and index >= first) or (name == source.id and source.chunk_count > 1)
    ]


def _leftover_ids(source: SourceDocument) -> Iterator[str]:
    """Yield, endlessly, the ids that chunks of earlier versions may have, in the order of the text."""
    if source.chunk_count > 1:
        yield source.id
    yield from (chunk_id(source.id, index) for index in count(_first_leftover(source)))
