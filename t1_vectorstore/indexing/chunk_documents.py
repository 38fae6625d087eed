"""Split documents into the chunks that go through a load, each with its document."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from t1_vectorstore.collection import Collection
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.embedding.prompts import Prompter
from t1_vectorstore.engines.ids import point_id
from t1_vectorstore.indexing.chunking import DEFAULT_SIZE, Chunker, reported_id
from t1_vectorstore.indexing.report import Failure
from t1_vectorstore.types import Chunk, Document


@dataclass(slots=True)
class SourceDocument:
    """A document during its load.

    Attributes:
        document: The document, as it was given.
        id: Its id, or the hash of its text.
        chunk_count: Number of its chunks.
        refused: Whether one of them cannot be stored. Then the others are not stored either.
    """

    document: Document
    id: str
    chunk_count: int
    refused: bool = False


@dataclass(frozen=True, slots=True)
class PendingChunk:
    """A chunk during its load; ``content_hash`` is the chunk's, computed once."""

    chunk: Chunk
    content_hash: str
    source: SourceDocument


def chunk_sizes(collection: Collection | None, size: int | None = None, overlap: int | None = None) -> tuple[int, int]:
    """Return chunk size and overlap in characters: those given, else those of the latest load, else the defaults."""
    latest = collection.latest_load if collection and (size is None or overlap is None) else None
    if size is None:
        size = latest.chunk_size if latest else DEFAULT_SIZE
    if overlap is None:
        overlap = latest.overlap if latest else 0
    return size, overlap


def chunker_for(
    model: T1Embedder | Prompter, *, size: int = DEFAULT_SIZE, overlap: int = 0, keep_spaces: bool = False
) -> Chunker:
    """Return a chunker for at most ``size`` characters, and never more tokens than the model reads."""

    def length(text: str) -> int:
        if len(text) > size:
            return len(text)
        excess = model.excess_tokens(text) if text else 0
        return size + excess if excess else len(text)

    return Chunker(size, overlap, length, keep_spaces)


def chunk_document(document: Document, chunker: Chunker, collection: Collection) -> list[PendingChunk]:
    """Split a document, and refuse whatever the collection would refuse, before the model runs.

    Raises:
        ValueError: Its text, id or metadata cannot be stored.
        TypeError: They have the wrong type.
    """
    chunks = chunker.split(document)
    source = SourceDocument(document, chunks[0].document_id, len(chunks))
    point_id(source.id)
    collection.check(chunks[0])  # the others differ only in their texts, which the chunker has checked
    return [PendingChunk(chunk, chunk.content_hash, source) for chunk in chunks]


def check_documents(documents: Iterable[Document], chunker: Chunker, collection: Collection) -> list[Failure]:
    """Return the documents that a load would refuse without the model, with the reasons."""
    failures: list[Failure] = []
    contents: dict[str, list[str]] = {}
    for document in documents:
        try:  # each document by itself
            chunks = chunk_document(document, chunker, collection)
            content = [pending.content_hash for pending in chunks]
            if contents.setdefault(chunks[0].source.id, content) != content:
                raise ValueError("another document of this call has this id and came first; give each its own")
        except (ValueError, TypeError) as error:  # noqa: PERF203
            failures.append(Failure(reported_id(document), str(error)))
    return failures
