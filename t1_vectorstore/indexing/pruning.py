"""Pruning: what is in a collection and no longer in its source is deleted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing

from t1_vectorstore.collection import Collection
from t1_vectorstore.collection.writer import BATCH_POINTS, batched
from t1_vectorstore.indexing.chunking import document_id
from t1_vectorstore.indexing.seen_ids import Seen
from t1_vectorstore.types import Document, FilterLike

EMPTY = "the source has no document, and pruning would remove everything; delete that on purpose, or mend the source"


def prune(documents: Iterable[Document], collection: Collection, *, filter: FilterLike | None = None) -> int:
    """Delete every document that is not among these, as ``load(prune=True)`` does, without loading any.

    For sources that were loaded in parts: none of the parts can know what the others have.

    Args:
        documents: the whole source.
        collection: where from. Points that another package wrote are left alone.
        filter: only delete documents whose metadata satisfies it.

    Returns:
        How many chunks were removed.

    Raises:
        ValueError: there is no document in the source: everything would be removed.
    """
    with closing(Seen()) as seen:
        empty = True
        for document in documents:
            empty = False
            seen.add_failed(document_id(document) if isinstance(document.text, str) else document.id)
        if empty:
            raise ValueError(EMPTY)
        return sum(delete_unseen(seen, collection, filter))


def delete_unseen(seen: Seen, collection: Collection, filter: FilterLike | None) -> Iterator[int]:
    """Delete the chunks that the source does not have; yield how many, batch by batch."""
    for chunks in batched(collection.scroll(filter), BATCH_POINTS):
        unseen = [chunk.id for chunk in chunks if not seen.wants(chunk)]
        yield collection.delete(collection.content_hashes(unseen)) if unseen else 0
