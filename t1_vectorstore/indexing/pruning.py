"""Delete what a collection holds and its source no longer has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing

from t1_vectorstore.collection import Collection
from t1_vectorstore.collection.writer import BATCH_POINTS
from t1_vectorstore.indexing.chunking import reported_id
from t1_vectorstore.indexing.seen_ids import SeenIds
from t1_vectorstore.iteration import batched
from t1_vectorstore.types import Document, FilterLike

EMPTY_SOURCE = "the source has no document, so pruning would delete everything; check the source"


def prune(documents: Iterable[Document], collection: Collection, *, filter: FilterLike | None = None) -> int:
    """Delete every document that is not among these, as ``load(prune=True)`` does, without loading any.

    Use it after a source was loaded in parts: a load of one part cannot know the documents of the others.

    Args:
        documents: The whole source.
        collection: The collection. Points that another package wrote are kept.
        filter: Delete only documents whose metadata matches.

    Returns:
        The number of deleted chunks.

    Raises:
        ValueError: The source has no document, so everything would be deleted.
    """
    with closing(SeenIds()) as seen:
        empty = True
        for document in documents:
            empty = False
            seen.add_failed(reported_id(document))
        if empty:
            raise ValueError(EMPTY_SOURCE)
        return sum(delete_unseen(seen, collection, filter))


def delete_unseen(seen: SeenIds, collection: Collection, filter: FilterLike | None) -> Iterator[int]:
    """Delete the chunks that the source does not have, and yield the number of deleted chunks of each batch."""
    for chunks in batched(collection.scroll(filter), BATCH_POINTS):
        unseen = [chunk.id for chunk in chunks if not seen.contains(chunk)]
        # Only this package's points have a content hash.
        yield collection.delete(collection.content_hashes(unseen)) if unseen else 0
