"""The ids of a load are remembered exactly."""

from __future__ import annotations

from contextlib import closing

import pytest

from t1_vectorstore.collection import Collection
from t1_vectorstore.indexing.chunk_documents import PendingChunk, chunk_document
from t1_vectorstore.indexing.chunking import Chunker
from t1_vectorstore.indexing.seen_ids import SeenIds
from t1_vectorstore.types import Document, ModelIdentity


def split(document: Document, size: int = 20) -> list[PendingChunk]:
    with Collection.open(":memory:", identity=ModelIdentity("m", "f", 4)) as collection:
        return chunk_document(document, Chunker(size), collection)


def test_the_same_document_is_not_new_and_another_of_its_id_is_refused() -> None:
    with closing(SeenIds()) as seen:
        assert seen.add(split(Document("one", "a")))
        assert not seen.add(split(Document("one", "a")))
        for other in (Document("two", "a"), Document("one", "a", {"k": 1}), Document("one " * 20, "a")):
            with pytest.raises(ValueError, match="came first"):
                seen.add(split(other))
        [pending] = split(Document("other text of the same chunk", "a"), 100)
        assert seen.contains(pending.chunk)
        [pending] = split(Document("one", "b"))
        assert not seen.contains(pending.chunk)


def test_the_ids_of_chunks_are_taken_as_well() -> None:
    with closing(SeenIds()) as seen:
        seen.add(split(Document("one two three four five six", "a")))
        with pytest.raises(ValueError, match="came first"):
            seen.add(split(Document("one two three four", "a#chunk-0")))
        assert not seen.add(split(Document("one two three four five six", "a")))


def test_a_failed_document_may_be_followed_by_a_good_one() -> None:
    with closing(SeenIds()) as seen:
        seen.add_failed("a")
        seen.add_failed(7)
        seen.add_failed("\ud800")
        older = split(Document("one two three four five six", "a"))
        assert all(seen.contains(pending.chunk) for pending in older)
        assert seen.add(split(Document("one", "a")))
        assert not any(seen.contains(pending.chunk) for pending in older)
        seen.add_failed("a")
        assert not seen.add(split(Document("one", "a")))
