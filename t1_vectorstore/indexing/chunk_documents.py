"""Documents to the pieces that travel through a load, each with the document it belongs to."""

from __future__ import annotations

from dataclasses import dataclass

from t1_vectorstore.collection import Collection
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.embedding.prompts import Prompter
from t1_vectorstore.engines.ids import point_id
from t1_vectorstore.indexing.chunking import DEFAULT_SIZE, Chunker
from t1_vectorstore.types import Chunk, Document


@dataclass(slots=True)
class Origin:
    """A document on its way.

    Attributes:
        document: as it was given.
        name: its id.
        chunks: into how many it was cut.
        refused: set when one of them cannot be stored: the others are then not stored, either.
    """

    document: Document
    name: str
    chunks: int
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Piece:
    """A chunk on its way.

    Attributes:
        chunk: what is encoded and stored.
        content_hash: the chunk's, computed once.
        origin: what it was cut from.
    """

    chunk: Chunk
    content_hash: str
    origin: Origin

    @property
    def last(self) -> bool:
        """Whether it is its document's last."""
        return self.chunk.index == self.origin.chunks - 1


def chunker_for(model: T1Embedder | Prompter, *, size: int = DEFAULT_SIZE, overlap: int = 0) -> Chunker:
    """Chunks of at most ``size`` characters, and never of more tokens than the model, or its prompter, reads."""

    def length(text: str) -> int:
        if len(text) > size:
            return len(text)
        excess = model.excess_tokens(text) if text else 0
        return size + excess if excess else len(text)

    return Chunker(size, overlap, length)


def cut(document: Document, chunker: Chunker, collection: Collection) -> list[Piece]:
    """Cut a document; whatever the collection would refuse is refused here, before the model is at work.

    Raises:
        ValueError: its text, id or metadata cannot be stored.
        TypeError: they are not of the types they must be.
    """
    chunks = chunker.split(document)
    origin = Origin(document, chunks[0].document_id, len(chunks))
    point_id(origin.name)
    collection.check(chunks[0])  # the others differ in their texts, which the chunker has checked
    return [Piece(chunk, chunk.content_hash, origin) for chunk in chunks]
