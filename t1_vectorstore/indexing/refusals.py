"""Embedding texts of which the model may refuse some."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.errors import UnusableVector
from t1_vectorstore.iteration import halves
from t1_vectorstore.types import DocumentEmbeddings

_Item = TypeVar("_Item")

NO_VECTOR = "the model gives no finite vector for its text; in float16 or bfloat16 try dtype='float32'"


def embed_or_refuse(
    embedder: T1Embedder,
    items: Sequence[_Item],
    text_of: Callable[[_Item], str],
    refuse: Callable[[_Item, Exception], None],
    *,
    is_refused: Callable[[_Item], bool] = lambda _: False,
    on_done: Callable[[int], None] | None = None,
) -> list[tuple[Sequence[_Item], DocumentEmbeddings]]:
    """Embed the texts of items. If the model refuses some of them, embed the others.

    Args:
        embedder: The model.
        items: The items.
        text_of: Returns the text of an item.
        refuse: Called with each item whose text the model refuses, and the reason.
        is_refused: Returns whether to leave an item out, for example since another item of its document was refused.
        on_done: Called with the number of items that were embedded since the last call. The number is negative if they
            have to be embedded again.

    Returns:
        Parts of the items, in order, each with its embeddings; refused items are in none of them.

    Raises:
        BackendError: The model failed.
    """
    items = [item for item in items if not is_refused(item)]
    if not items:
        return []
    try:
        embeddings = embedder.embed_documents([text_of(item) for item in items], truncation="allow", on_done=on_done)
    except UnusableVector as error:
        # The error names all texts without a vector: embed the others.
        for index in error.indexes:
            refuse(items[index], ValueError(NO_VECTOR))
        if on_done is not None:
            on_done(-len(items))
        parts: Sequence[Sequence[_Item]] = [[item for index, item in enumerate(items) if index not in error.indexes]]
    except (ValueError, TypeError) as error:
        # The error is about one text, which halving finds.
        if len(items) == 1:
            refuse(items[0], error)
            return []
        parts = halves(items)
    else:
        return [(items, embeddings)]
    return [
        embedded
        for part in parts
        for embedded in embed_or_refuse(embedder, part, text_of, refuse, is_refused=is_refused, on_done=on_done)
    ]
