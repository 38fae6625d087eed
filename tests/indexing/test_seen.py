"""What a load has had is known exactly, and costs no memory to speak of."""

from __future__ import annotations

from contextlib import closing

import pytest

from t1_vectorstore.collection import Collection
from t1_vectorstore.indexing.chunk_documents import Piece, cut
from t1_vectorstore.indexing.chunking import Chunker
from t1_vectorstore.indexing.seen_ids import Seen
from t1_vectorstore.types import Document, ModelIdentity


def pieces(document: Document, size: int = 20) -> list[Piece]:
    with Collection.open(":memory:", identity=ModelIdentity("m", "f", 4)) as collection:
        return cut(document, Chunker(size), collection)


def test_the_same_document_is_not_new_and_another_of_its_id_is_refused() -> None:
    with closing(Seen()) as seen:
        assert seen.add(pieces(Document("one", "a")))
        assert not seen.add(pieces(Document("one", "a")))
        for other in (Document("two", "a"), Document("one", "a", {"k": 1}), Document("one " * 20, "a")):
            with pytest.raises(ValueError, match="came first"):
                seen.add(pieces(other))
        [piece] = pieces(Document("other text of the same chunk", "a"), 100)
        assert seen.wants(piece.chunk)
        [piece] = pieces(Document("one", "b"))
        assert not seen.wants(piece.chunk)


def test_chunks_take_their_ids_too() -> None:
    with closing(Seen()) as seen:
        seen.add(pieces(Document("one two three four five six", "a")))
        with pytest.raises(ValueError, match="came first"):
            seen.add(pieces(Document("one two three four", "a#chunk-0")))
        assert not seen.add(pieces(Document("one two three four five six", "a")))


def test_a_document_that_failed_may_still_come_right() -> None:
    with closing(Seen()) as seen:
        seen.add_failed("a")
        seen.add_failed(7)
        seen.add_failed("\ud800")
        older = pieces(Document("one two three four five six", "a"))
        assert all(seen.wants(piece.chunk) for piece in older)
        assert seen.add(pieces(Document("one", "a")))
        assert not any(seen.wants(piece.chunk) for piece in older)
        seen.add_failed("a")
        assert not seen.add(pieces(Document("one", "a")))
