"""The proof that a collection equals its source.

The source is cut as a load cuts it, and every point of the collection is read: its text and metadata are hashed anew
and held against the hash that was stored with them and against the source's. Nothing is written.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from t1_vectorstore.collection import Collection
from t1_vectorstore.collection.audit import StoredPoint, stored_points
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.engines.ids import point_id
from t1_vectorstore.errors import CollectionMismatch
from t1_vectorstore.indexing.chunking import Chunker, document_id
from t1_vectorstore.maintenance.expected_chunks import Ledger
from t1_vectorstore.types import Document

LISTED = 100
"""Of each kind of difference so many are listed; all are counted."""
LEAST_COSINE = 0.99
"""Between a stored vector and its text encoded anew; a default of ours, which bfloat16 and another batch stay above."""
_BATCH = 64

Kind: TypeAlias = Literal["missing", "changed", "corrupt", "stale", "extra", "refused", "vector"]
KINDS: Mapping[Kind, str] = {
    "missing": "in the source and not in the collection",
    "changed": "stored with other text or metadata than the source's",
    "corrupt": "not as it was written: text, metadata or id do not fit the stored hash",
    "stale": "a chunk that the source's version of the document does not have",
    "extra": "a chunk of a document that the source does not have",
    "refused": "a document that no load can store",
    "vector": "a vector that the model does not give",
}


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference: the id of a chunk (of a document, where it is ``refused``), and what is wrong with it."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Differences:
    """All differences of one kind: how many, and the first of them."""

    count: int
    first: tuple[Difference, ...]


@dataclass(frozen=True, slots=True)
class Verification:
    """What a comparison has found.

    Attributes:
        documents: read from the source.
        chunks: that they are to be stored as.
        points: that the collection holds.
        vectors: that were compared with what the model gives now.
        lowest_cosine: among those; ``None`` without any.
        allowed: points of other documents than the source's that were allowed to be there.
        differences: by kind; kinds without any are no keys.
    """

    documents: int
    chunks: int
    points: int
    vectors: int
    lowest_cosine: float | None
    allowed: int
    differences: Mapping[Kind, Differences]

    @property
    def equal(self) -> bool:
        """Whether the collection holds the source, the whole source and nothing but the source."""
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
        documents: the source; read once.
        collection: what is to be proven.
        chunker: cuts as the load did; with other sizes nearly everything differs.
        embedder: the collection's model, to compare vectors with.
        vectors: how many points, drawn at random, are encoded anew.
        least_cosine: what a stored vector must reach with the one encoded anew.
        seed: of the draw.
        allow_extra: documents that the source does not have are no difference.

    Raises:
        ValueError: vectors are to be compared and there is no embedder, or numbers out of range.
        CollectionMismatch: the embedder is not the model whose vectors the collection holds.
        StoreError: the collection cannot be read.
    """
    _check(collection, embedder, vectors, least_cosine)
    found = _Findings()
    with Ledger() as ledger:
        read = _enter(documents, chunker, ledger, found)
        sample, points, allowed = _compare(collection, ledger, found, vectors, seed, allow_extra)
        for name in ledger.missing():
            found.add("missing", name, "not stored")
        chunks = len(ledger)
    cosines = _cosines(collection, embedder, sample) if embedder else {}
    for name, cosine in cosines.items():
        if not cosine >= least_cosine:
            found.add("vector", name, f"cosine {cosine:.4f} with the model's vector, below {least_cosine}")
    lowest = min(cosines.values(), default=None)
    return Verification(read, chunks, points, len(cosines), lowest, allowed, found.differences())


def _check(collection: Collection, embedder: T1Embedder | None, vectors: int, least_cosine: float) -> None:
    if vectors < 0:
        raise ValueError(f"vectors must be at least 0, got {vectors!r}")
    if not -1 <= least_cosine <= 1:
        raise ValueError(f"least_cosine is a cosine in [-1, 1], got {least_cosine!r}")
    if vectors and embedder is None:
        raise ValueError(f"comparing {vectors} vectors needs the model that made them: pass its embedder")
    if embedder and collection.identity.fingerprint != embedder.identity.fingerprint:
        raise CollectionMismatch(
            f"{collection.location} holds vectors of {collection.identity}, and the embedder is {embedder.identity}"
        )


class _Findings:
    """Differences as they are found: all counted, the first of each kind kept."""

    def __init__(self) -> None:
        self._counts: dict[Kind, int] = dict.fromkeys(KINDS, 0)
        self._first: dict[Kind, list[Difference]] = {kind: [] for kind in KINDS}

    def add(self, kind: Kind, name: str, reason: str) -> None:
        self._counts[kind] += 1
        if len(self._first[kind]) < LISTED:
            self._first[kind].append(Difference(name, reason))

    def differences(self) -> dict[Kind, Differences]:
        return {kind: Differences(n, tuple(self._first[kind])) for kind, n in self._counts.items() if n}


def _enter(documents: Iterable[Document], chunker: Chunker, ledger: Ledger, found: _Findings) -> int:
    """Cut the source as a load does, and refuse what a load refuses."""
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
        if not ledger.expect(chunks):
            found.add("refused", document_id(document), "another document of the source has this id and came first")
    return read


def _compare(
    collection: Collection, ledger: Ledger, found: _Findings, draw: int, seed: int, allow_extra: bool
) -> tuple[list[str], int, int]:
    """Hold every point against the ledger; returns a sample of those that are right, all points, and those allowed."""
    chance = random.Random(seed)
    sample: list[str] = []
    right = points = allowed = 0
    for stored in stored_points(collection):
        points += 1
        kind, reason = _judge(stored, ledger)
        if kind == "extra" and allow_extra:
            allowed += 1
        elif kind is not None:
            found.add(kind, stored.chunk.id, reason)
        elif draw:
            right += 1
            if len(sample) < draw:
                sample.append(stored.chunk.id)
            elif (place := chance.randrange(right)) < draw:
                sample[place] = stored.chunk.id
    return sample, points, allowed


def _judge(stored: StoredPoint, ledger: Ledger) -> tuple[Kind | None, str]:
    chunk = stored.chunk
    expected = ledger.find(chunk.id)
    if not stored.intact:
        return "corrupt", "what is stored does not fit the hash that was stored with it"
    if expected is None:
        if ledger.has_document(chunk.document_id):
            return "stale", f"the source's {chunk.document_id!r} has no such chunk"
        return "extra", f"the source has no document {chunk.document_id!r}"
    if stored.written_hash != expected:
        ours = stored.written_hash is not None
        return "changed", "other text or metadata than the source's" if ours else "written by another package"
    return None, ""


def _cosines(collection: Collection, embedder: T1Embedder, ids: list[str]) -> dict[str, float]:
    """How near each stored vector is to what the model makes of the stored text now."""
    cosines: dict[str, float] = {}
    for first in range(0, len(ids), _BATCH):
        held = list(collection.read_points(ids[first : first + _BATCH]))
        texts = [point.chunk.text for point in held]
        again = embedder.embed_documents(texts, truncation="allow").vectors
        for point, fresh in zip(held, again, strict=True):
            cosines[point.chunk.id] = float(point.vector @ fresh / np.linalg.norm(fresh))
    return cosines
