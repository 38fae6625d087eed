"""Verify that a collection equals its source.

The source is split as a load splits it, and every point of the collection is read: its text and metadata are hashed
again, and compared with the hash that was stored with them and with the source's. Nothing is written.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from t1_vectorstore.collection import Collection
from t1_vectorstore.collection.audit import StoredPoint, stored_points
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.engines.ids import point_id
from t1_vectorstore.indexing.chunking import Chunker, document_id
from t1_vectorstore.indexing.id_table import IdTable
from t1_vectorstore.iteration import batched
from t1_vectorstore.types import Chunk, Document

MAX_LISTED = 100
"""Maximum number of differences of each kind that are listed; all are counted."""
LEAST_COSINE = 0.99
"""Default of the least cosine between a stored vector and its text encoded again: this project's choice, which bfloat16
and other batches exceed."""
_BATCH = 64

DifferenceKind: TypeAlias = Literal["missing", "changed", "corrupt", "stale", "extra", "refused", "vector"]
DIFFERENCE_KINDS: Mapping[DifferenceKind, str] = {
    "missing": "in the source, but not in the collection",
    "changed": "stored with another text or metadata than the source's",
    "corrupt": "not as it was written: text, metadata or id do not match the stored hash",
    "stale": "a chunk that the source's version of the document does not have",
    "extra": "a chunk of a document that the source does not have",
    "refused": "a document that no load can store",
    "vector": "a vector that differs from the model's",
}


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference: the id of a chunk (of a document, if it is ``refused``), and what differs."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Differences:
    """All differences of one kind: their number, and the first of them."""

    count: int
    first: tuple[Difference, ...]


@dataclass(frozen=True, slots=True)
class Verification:
    """Result of a comparison.

    Attributes:
        documents: Number of documents in the source.
        chunks: Number of chunks that they should be stored as.
        points: Number of points in the collection.
        vectors: Number of vectors that were compared with the model's.
        lowest_cosine: Lowest cosine among those; ``None`` if no vectors were compared.
        allowed: Number of points of documents that the source does not have, if those were allowed.
        differences: Differences by kind; only kinds with differences are keys.
    """

    documents: int
    chunks: int
    points: int
    vectors: int
    lowest_cosine: float | None
    allowed: int
    differences: Mapping[DifferenceKind, Differences]

    @property
    def equal(self) -> bool:
        """Whether the collection holds all of the source and nothing else."""
        return not self.differences


def verify(
    documents: Iterable[Document],
    collection: Collection,
    chunker: Chunker,
    *,
    embedder: T1Embedder | None = None,
    vectors: int = 0,
    least_cosine: float = LEAST_COSINE,
    seed: int = 0,
    allow_extra: bool = False,
) -> Verification:
    """Compare a collection with its source, in constant memory.

    Args:
        documents: The source; read once.
        collection: The collection to verify.
        chunker: The chunker of the load. With other sizes nearly everything differs.
        embedder: The collection's model, to compare vectors.
        vectors: Number of points, drawn at random, that are encoded again.
        least_cosine: Minimum cosine between a stored vector and the one that is encoded again.
        seed: Seed of the random draw.
        allow_extra: Accept documents that the source does not have.

    Raises:
        ValueError: Vectors are to be compared without an embedder, or a number is out of range.
        CollectionMismatch: The embedder's model is not the collection's.
        StoreError: The collection cannot be read.
    """
    if vectors < 0:
        raise ValueError(f"vectors must be at least 0, got {vectors!r}")
    if not -1 <= least_cosine <= 1:
        raise ValueError(f"least_cosine must be between -1 and 1, got {least_cosine!r}")
    if vectors and embedder is None:
        raise ValueError(f"comparing {vectors} vectors needs the model that made them: pass its embedder")
    if embedder:
        collection.check_model(embedder.identity)
    found = _Found()
    with closing(_ExpectedChunks()) as expected:
        # 1. Split the source as a load does: the chunks to expect.
        read = _read_source(documents, chunker, expected, found)
        # 2. Compare every stored point with them, and draw the sample for step 4.
        sample, points, allowed = _compare_points(collection, expected, found, vectors, seed, allow_extra)
        # 3. What was expected and not found.
        for chunk in expected.missing():
            found.add("missing", chunk, "not stored")
        chunks = len(expected)
    # 4. Encode the sample again, and compare the vectors.
    cosines = _cosines(collection, embedder, sample) if embedder else {}
    for chunk, cosine in cosines.items():
        if not cosine >= least_cosine:
            found.add("vector", chunk, f"cosine {cosine:.4f} with the model's vector, below {least_cosine}")
    lowest = min(cosines.values(), default=None)
    differences = {kind: found[kind] for kind in DIFFERENCE_KINDS if kind in found}
    return Verification(read, chunks, points, len(cosines), lowest, allowed, differences)


class _ExpectedChunks:
    """The chunks that a source should be stored as, in constant memory: their hashes, and which of them were found."""

    _MISSING, _FOUND = b"\0", b"\1"

    def __init__(self) -> None:
        self._chunks = IdTable()  # SHA-256 of the content, and one byte: missing or found
        self._documents = IdTable()

    def add(self, chunks: Sequence[Chunk]) -> bool:
        """Add all chunks of one document.

        Returns:
            Whether they are expected now; false if other content has one of their ids, as a load keeps the first.
        """
        hashes = [chunk.content_hash for chunk in chunks]
        known = [self._hash(chunk.id) for chunk in chunks]
        if any(known):
            return known == hashes
        document = chunks[0].document_id
        if self.has_document(document):  # with the same id, but split into other chunks
            return False
        self._documents[document] = b""
        for chunk, content_hash in zip(chunks, hashes, strict=True):
            self._chunks[chunk.id] = bytes.fromhex(content_hash) + self._MISSING
        return True

    def find(self, chunk_id: str) -> str | None:
        """Return the expected hash of a chunk, and mark the chunk as found; None if it is not expected."""
        content_hash = self._hash(chunk_id)
        if content_hash is not None:
            self._chunks[chunk_id] = bytes.fromhex(content_hash) + self._FOUND
        return content_hash

    def has_document(self, document_id: str) -> bool:
        return self._documents.get(document_id) is not None

    def missing(self) -> Iterator[str]:
        return (chunk_id for chunk_id, value in self._chunks.items() if value.endswith(self._MISSING))

    def __len__(self) -> int:
        return len(self._chunks)

    def close(self) -> None:
        self._chunks.close()
        self._documents.close()

    def _hash(self, chunk_id: str) -> str | None:
        value = self._chunks.get(chunk_id)
        return None if value is None else value[:-1].hex()


class _Found(dict[DifferenceKind, Differences]):
    """The differences found so far."""

    def add(self, kind: DifferenceKind, name: str, reason: str) -> None:
        count, first = (self[kind].count, self[kind].first) if kind in self else (0, ())
        self[kind] = Differences(count + 1, (*first, Difference(name, reason))[:MAX_LISTED])


def _read_source(documents: Iterable[Document], chunker: Chunker, expected: _ExpectedChunks, found: _Found) -> int:
    """Split the source as a load does, refuse what a load refuses, and return the number of documents."""
    read = 0
    for document in documents:
        if not isinstance(document, Document):
            raise TypeError(f"a source holds Documents, got {type(document).__name__}")
        read += 1
        try:
            chunks = chunker.split(document)
            for chunk in chunks:
                point_id(chunk.id)
                chunk.content_hash  # noqa: B018 - refuses metadata that is not JSON
        except (ValueError, TypeError) as error:
            found.add("refused", str(document.id), str(error))
            continue
        if not expected.add(chunks):
            found.add("refused", document_id(document), "another document of the source has this id and came first")
    return read


def _compare_points(
    collection: Collection, expected: _ExpectedChunks, found: _Found, sample_size: int, seed: int, allow_extra: bool
) -> tuple[list[str], int, int]:
    """Compare every point; return a sample of the equal ones, the number of all points, and of the allowed ones."""
    generator = random.Random(seed)
    sample: list[str] = []
    equal = points = allowed = 0
    for stored in stored_points(collection):
        points += 1
        kind, reason = _compare_point(stored, expected)
        if kind == "extra" and allow_extra:
            allowed += 1
        elif kind is not None:
            found.add(kind, stored.chunk.id, reason)
        elif sample_size:  # reservoir sampling: each equal point is in the sample with the same probability
            equal += 1
            if len(sample) < sample_size:
                sample.append(stored.chunk.id)
            elif (place := generator.randrange(equal)) < sample_size:
                sample[place] = stored.chunk.id
    return sample, points, allowed


def _compare_point(stored: StoredPoint, expected: _ExpectedChunks) -> tuple[DifferenceKind | None, str]:
    chunk = stored.chunk
    content_hash = expected.find(chunk.id)
    if not stored.intact:
        return "corrupt", "the stored content does not match the hash that was stored with it"
    if content_hash is None:
        if expected.has_document(chunk.document_id):
            return "stale", f"the source's {chunk.document_id!r} has no such chunk"
        return "extra", f"the source has no document {chunk.document_id!r}"
    if stored.written_hash is None:
        return "changed", "written by another package"
    if stored.written_hash != content_hash:
        return "changed", "other text or metadata than the source's"
    return None, ""


def _cosines(collection: Collection, embedder: T1Embedder, ids: list[str]) -> dict[str, float]:
    """Return the cosine between each stored vector and the model's vector of the stored text."""
    cosines: dict[str, float] = {}
    for wanted in batched(ids, _BATCH):
        stored = list(collection.read_points(wanted))
        vectors = embedder.embed_documents([point.chunk.text for point in stored], truncation="allow").vectors
        for point, vector in zip(stored, vectors, strict=True):
            cosines[point.chunk.id] = float(point.vector @ vector / np.linalg.norm(vector))
    return cosines
