"""Stored chunks by the ids that users know: those of chunks, and those of documents."""

from __future__ import annotations

from collections.abc import Sequence

from t1_vectorstore.collection.collection import Collection
from t1_vectorstore.types import Chunk, DocumentIn


def find_chunks(collection: Collection, ids: Sequence[str]) -> tuple[list[Chunk], list[str]]:
    """Return the chunks of ids of chunks and documents, in the order of the ids, and the ids without any.

    The id of a document with several chunks stands for all of them, in the order of the text.
    """
    # 1. Chunks under the ids themselves. 2. For the other ids, all chunks of documents that have them.
    chunks = collection.get(ids)
    others = [given for given in dict.fromkeys(ids) if given not in chunks]
    parts: dict[str, list[Chunk]] = {given: [] for given in others}
    if others:
        for chunk in collection.scroll(DocumentIn(others)):
            parts[chunk.document_id].append(chunk)
    found = [
        chunk
        for given in dict.fromkeys(ids)
        for chunk in ([chunks[given]] if given in chunks else sorted(parts[given], key=lambda part: part.index))
    ]
    return found, [given for given in others if not parts[given]]
