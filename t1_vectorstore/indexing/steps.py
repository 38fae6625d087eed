"""What happens to each batch of a load, one step after the other: look up, encode, write."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, islice
from typing import TypeVar

from t1_vectorstore.collection import Collection
from t1_vectorstore.collection.collection import PointState
from t1_vectorstore.collection.writer import same_point
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.engines.ids import PointId, point_id
from t1_vectorstore.errors import WriteRefused
from t1_vectorstore.indexing.chunk_documents import Origin, Piece
from t1_vectorstore.indexing.chunking import chunk_id
from t1_vectorstore.indexing.counters import Tally
from t1_vectorstore.indexing.report import TruncatedChunk
from t1_vectorstore.indexing.seen_ids import Seen
from t1_vectorstore.indexing.written_chunks import Proof
from t1_vectorstore.types import Chunk, Point, Vector

_Item = TypeVar("_Item")
_Embedded = tuple[Piece, Vector]
_PROBE = 64  # ids asked for at a time when looking for the chunks of a longer version
MAX_BATCHES = 4
"""Number of batches under way: one in each step, and one that is ready for the model."""


@dataclass(slots=True)
class Batch:
    """Pieces that go through the steps together; a step leaves in it what the next one needs.

    Attributes:
        pieces: to be stored; after the look-up only those that are not.
        stale: documents that end in this batch and have left chunks of a longer version.
        embedded: the pieces with their vectors.
    """

    pieces: list[Piece]
    stale: list[Origin] = field(default_factory=list)
    embedded: list[_Embedded] = field(default_factory=list)


class Steps:
    """The steps of one load. Each is called in a thread of its own, with one batch at a time, in order."""

    def __init__(
        self,
        embedder: T1Embedder,
        collection: Collection,
        seen: Seen,
        tally: Tally,
        proof: Proof,
    ) -> None:
        self._embedder = embedder
        self._collection = collection
        self._seen = seen
        self._tally = tally
        self._proof = proof
        self._in_flight: deque[dict[PointId, str]] = deque(maxlen=MAX_BATCHES)
        """Chunk ids of the last batches, by point; they may not be written when the next batch is looked up."""
        self.go_on: Callable[[], None] = lambda: None
        """Called between two forward passes of the model; raises to leave them."""

    def look_up(self, batch: Batch) -> None:
        """Keep the chunks that the collection does not hold yet, and the documents that leave chunks behind."""
        ids = [piece.chunk.id for piece in batch.pieces]
        stored = self._collection.point_states(ids)
        self._in_flight.append({})
        fresh = []
        for piece in batch.pieces:
            state = stored.get(piece.chunk.id)
            if (other := self._other_id(piece.chunk.id, state)) is not None:
                self._refuse(piece.origin, same_point(piece.chunk.id, other))
            elif state is None or state.content_hash != piece.content_hash:
                fresh.append(piece)
            else:
                self._tally.count(unchanged=1)
        batch.stale = self._stale([piece.origin for piece in batch.pieces if piece.last], ids)
        batch.pieces = fresh

    def _other_id(self, chunk_id: str, state: PointState | None) -> str | None:
        """Return another id that is stored at the point of an id, or will be by a batch that is not written yet."""
        point = point_id(chunk_id)
        taken = [ids[point] for ids in self._in_flight if point in ids] + ([] if state is None else [state.id])
        self._in_flight[-1].setdefault(point, chunk_id)
        return next((other for other in taken if other != chunk_id), None)

    def _stale(self, origins: Sequence[Origin], ids: Sequence[str]) -> list[Origin]:
        """Return the documents of which the collection has chunks of a longer version; ``ids`` are current chunks."""
        if not origins:
            return []
        by_name = {origin.name: origin for origin in origins}
        found = self._collection.chunks_of_documents(by_name, except_ids=ids)
        if found is not None:
            names = {chunk.document_id for chunk in found}
            return [origin for origin in origins if origin.name in names and _leftovers(origin, found)]
        probes = {left: origin for origin in origins for left in islice(_leftover_ids(origin), 2)}
        return list({probes[left].name: probes[left] for left in self._collection.content_hashes(probes)}.values())

    def encode(self, batch: Batch) -> None:
        """Embed what is left."""
        batch.embedded = self._embed(batch.pieces)
        batch.pieces = []

    def write(self, batch: Batch) -> None:
        """Write the batch, and then delete the chunks that longer versions have left."""
        self._store(batch.embedded)
        for origin in batch.stale:
            if not origin.refused:
                self._delete_leftovers(origin)

    def _embed(self, pieces: Sequence[Piece]) -> list[_Embedded]:
        """Embed chunks; where a text is refused, halve until it is found, so that the others are embedded."""
        pieces = [piece for piece in pieces if not piece.origin.refused]
        if not pieces:
            return []
        try:
            embeddings = self._embedder.embed_documents(
                [piece.chunk.text for piece in pieces], truncation="allow", on_done=self._encoded
            )
        except (ValueError, TypeError) as error:
            if len(pieces) > 1:
                return [embedded for half in _halves(pieces) for embedded in self._embed(half)]
            self._refuse(pieces[0].origin, error)
            return []
        cuts = embeddings.truncated
        self._tally.truncate(
            [TruncatedChunk(pieces[cut.index].chunk.id, cut.dropped_tokens, cut.total_tokens) for cut in cuts]
        )
        self._tally.count(tokens=embeddings.tokens)
        return list(zip(pieces, embeddings.vectors, strict=True))

    def _encoded(self, more: int) -> None:
        self._tally.count(encoded=more)
        self.go_on()

    def _store(self, embedded: Sequence[_Embedded]) -> None:
        """Write points; where one is refused, halve until it is found. Writing a point twice changes nothing."""
        embedded = [(piece, vector) for piece, vector in embedded if not piece.origin.refused]
        if not embedded:
            return
        try:
            stored = self._collection.write([Point(piece.chunk, vector) for piece, vector in embedded])
        except WriteRefused as error:
            if not error.ids:
                raise
            for piece in (piece for piece, _ in embedded if piece.chunk.id in error.ids):
                self._refuse(piece.origin, error)
            self._store(embedded)
        except (ValueError, TypeError) as error:
            if len(embedded) > 1:
                for half in _halves(embedded):
                    self._store(half)
            else:
                self._refuse(embedded[0][0].origin, error)
        else:
            self._proof.add(piece for piece, _ in embedded)
            self._tally.count(stored=stored)

    def _delete_leftovers(self, origin: Origin) -> None:
        """Delete the chunks of a longer version, last first: the next load finds what an interruption leaves."""
        found = self._collection.chunks_of_documents([origin.name])
        leftovers = self._probe_leftovers(origin) if found is None else _leftovers(origin, found)
        self._tally.count(removed=self._collection.delete(reversed(leftovers)))

    def _probe_leftovers(self, origin: Origin) -> list[str]:
        """Find the chunks of a longer version by their ids, up to the first gap."""
        leftovers: list[str] = []
        ids = _leftover_ids(origin)
        while True:
            asked = list(islice(ids, _PROBE))
            found = self._collection.get(asked)
            leftovers += [left for left in asked if left in found and found[left].document_id == origin.name]
            if asked[-1] not in found:
                return leftovers

    def _refuse(self, origin: Origin, error: Exception) -> None:
        if not origin.refused:
            origin.refused = True
            self._seen.refuse(origin.name)  # what an earlier version has stored is then left alone
            self._tally.fail(origin.name, str(error), origin.document)


def _leftovers(origin: Origin, stored: Iterable[Chunk]) -> list[str]:
    """Return those of the stored chunks that a longer version of a document has left, in the text's order."""
    first = origin.chunks if origin.chunks > 1 else 0
    own = sorted((chunk.index, chunk.id) for chunk in stored if chunk.document_id == origin.name)
    return [
        name
        for index, name in own
        if (name == chunk_id(origin.name, index) and index >= first) or (name == origin.name and origin.chunks > 1)
    ]


def _leftover_ids(origin: Origin) -> Iterator[str]:
    """The ids, without end, that longer versions of a document may have left, in the text's order."""
    if origin.chunks > 1:
        yield origin.name
    yield from (chunk_id(origin.name, index) for index in count(origin.chunks if origin.chunks > 1 else 0))


def _halves(items: Sequence[_Item]) -> tuple[Sequence[_Item], Sequence[_Item]]:
    middle = len(items) // 2
    return items[:middle], items[middle:]
