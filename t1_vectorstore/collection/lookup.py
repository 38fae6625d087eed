"""What users look up: chunks by the ids of chunks and documents, and why a filter finds nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from t1_vectorstore.collection.collection import Collection
from t1_vectorstore.collection.filters import compile_filter
from t1_vectorstore.collection.number_checks import NumberChecks
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
            if chunk.document_id in parts:  # the filter also matches the UUID of a point, which is no id of ours
                parts[chunk.document_id].append(chunk)
    found = [
        chunk
        for given in dict.fromkeys(ids)
        for chunk in ([chunks[given]] if given in chunks else sorted(parts[given], key=lambda part: part.index))
    ]
    return found, [given for given in others if not parts[given]]


def unknown_fields(collection: Collection, filter: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield a sentence for each field of a filter that no document has, such as a misspelled one."""
    if filter and collection.count():
        for field in filter:
            if not collection.count({field: {"ne": None}}):
                yield f"no document has the metadata field {field!r}"


def explain_filter(collection: Collection, filter: Mapping[str, Any] | None) -> list[str]:
    """Say why a filter may have found nothing: unknown fields, and numbers compared with fields that have none."""
    compiled = compile_filter(filter, collection.metadata_key)
    return [*unknown_fields(collection, filter), *NumberChecks(collection.storage).explain(compiled)]
