"""Chunks are exact slices in order, lose nothing, fit into the size, and end at natural boundaries."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t1_vectorstore.errors import InvalidText
from t1_vectorstore.indexing.chunking import Chunker, document_id
from t1_vectorstore.types import Chunk, Document

FAMILY = "👩\u200d👩\u200d👧\u200d👦"
TEXTS = st.lists(
    st.sampled_from(
        ["word", " ", "\n", "\n\n", ". ", "é", "e\u0301", FAMILY, "🇨🇿🇩🇪", "。", "각", "\r\n", "x" * 40, " " * 40]
    )
).map("".join)


def split(text: str, **settings: int) -> list[Chunk]:
    return Chunker(**settings).split(Document(text, id="d"))


def words(text: str) -> int:
    return len(text.split())


@given(TEXTS, st.integers(1, 60), st.integers(0, 30), st.sampled_from([None, words, lambda text: len(text.encode())]))
def test_chunks_are_ordered_slices_that_fit_and_lose_nothing(
    text: str, size: int, overlap: int, length: Callable[[str], int] | None
) -> None:
    if not text.strip():
        with pytest.raises(InvalidText):
            split(text)
        return
    chunks = Chunker(size, min(overlap, size // 2), length).split(Document(text, id="d", metadata={"a": 1}))
    covered = set()
    for index, chunk in enumerate(chunks):
        assert chunk.text == text[chunk.start : chunk.end]
        assert chunk.text.strip()
        assert chunk.index == index
        assert chunk.metadata == {"a": 1}
        assert (length or len)(chunk.text) <= size or chunk.end - chunk.start == 1
        covered.update(range(chunk.start, chunk.end))
    assert all(character.isspace() or at in covered for at, character in enumerate(text))
    assert len({chunk.id for chunk in chunks}) == len(chunks)
    assert [c.end for c in chunks] == sorted({c.end for c in chunks})
    assert [c.start for c in chunks] == sorted({c.start for c in chunks})


def test_a_document_that_fits_is_one_chunk_with_its_own_id_and_text() -> None:
    assert split("  short \n") == [Chunk("d", "d", "  short \n", 0, 9)]


def test_the_id_defaults_to_the_hash_of_the_text() -> None:
    (chunk,) = Chunker().split(Document("abc"))
    assert chunk.id == chunk.document_id == document_id(Document("abc")) == hashlib.sha256(b"abc").hexdigest()


def test_the_chunks_of_a_long_document_are_numbered() -> None:
    assert [c.id for c in split("aaaa bbbb cccc", size=5)] == ["d#chunk-0", "d#chunk-1", "d#chunk-2"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One two.\n\nThree four. Five", ["One two.", "Three four. Five"]),
        ("One two. Three\nfour five six", ["One two. Three", "four five six"]),
        ("One. Two three. Four five six", ["One. Two three.", "Four five six"]),
        ("He said “no.” Then left the room", ["He said “no.”", "Then left the room"]),
        ("one two three four five six", ["one two three four", "five six"]),
        ("一二三四五六。七八九十一二三四五六七八", ["一二三四五六。七八九十一二三四五六七八"[:18], "八"]),
        ("一二三四五六七八九十。二三四五六七八九", ["一二三四五六七八九十。", "二三四五六七八九"]),
        ("abcdefghijklmnopqrstuvwxyz", ["abcdefghijklmnopqr", "stuvwxyz"]),
    ],
)
def test_chunks_end_at_the_best_boundary(text: str, expected: list[str]) -> None:
    assert [chunk.text for chunk in split(text, size=18)] == expected


@pytest.mark.parametrize("symbol", ["e\u0301", FAMILY, "🇨🇿", "👍🏽", "\u1100\u1161\u11a8", "❤\ufe0f"])
def test_a_hard_split_keeps_visible_characters_whole(symbol: str) -> None:
    for size in range(len(symbol) * 2, len(symbol) * 4):
        for overlap in (0, len(symbol)):
            for chunk in split(symbol * 30, size=size, overlap=overlap):
                assert chunk.text == symbol * (len(chunk.text) // len(symbol))


def test_overlap_repeats_whole_words() -> None:
    chunks = split("alpha beta gamma delta epsilon zeta eta theta", size=22, overlap=11)
    assert [c.text for c in chunks] == ["alpha beta gamma delta", "delta epsilon zeta eta", "zeta eta theta"]


@pytest.mark.thorough
@pytest.mark.parametrize(
    "text",
    [*"x\u0301🇨.。語", "a ", '."', "\n\n\n\n\nx", "\n \t", "e\u0301", FAMILY],
)
@pytest.mark.parametrize("prefix", ["", " " * 1000, " " * 10**6])
@pytest.mark.parametrize("overlap", [0, 200])
@pytest.mark.timeout(20)  # linear time is half a second
def test_a_megabyte_of_any_text_is_split_in_linear_time(text: str, prefix: str, overlap: int) -> None:
    text = prefix + text * (10**6 // len(text)) + "x"
    chunks = split(text, size=1000, overlap=overlap)
    assert len(chunks) < 3000


@pytest.mark.parametrize("text", ["", " \n\t ", "broken \ud800 half"])
def test_texts_that_no_model_can_embed_are_refused(text: str) -> None:
    with pytest.raises(InvalidText):
        split(text)


@pytest.mark.parametrize(("size", "overlap"), [(0, 0), (-1, 0), (10, 6), (10, -1)])
def test_impossible_settings_are_refused(size: int, overlap: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        Chunker(size, overlap)
