"""Sentences of texts in several scripts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t1_vectorstore.sentences import split_sentences, without_sentence


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Oslo is a capital. Bergen is not! Is it?", ["Oslo is a capital.", "Bergen is not!", "Is it?"]),
        ("one", ["one"]),
        ("", []),
        (" \n ", []),
        ("  spaces around.  ", ["spaces around."]),
        ("奥斯陆是首都。它在挪威！是吗？", ["奥斯陆是首都。", "它在挪威！", "是吗？"]),
        ("「東京です。」と言った。なに？！本当。", ["「東京です。」", "と言った。", "なに？！", "本当。"]),
        ("Dr. Who met J. Smith, e.g. Here. Next.", ["Dr. Who met J. Smith, e.g. Here.", "Next."]),
        ("1. First item\n2. Second item", ["1. First item", "2. Second item"]),
        ("It began in 1999. It ended.", ["It began in 1999.", "It ended."]),
        ('He said "no." She left.', ['He said "no."', "She left."]),
        ("version 1.2.3 is out. Get it", ["version 1.2.3 is out.", "Get it"]),
        ("It is vs. ", ["It is vs."]),
        ("Wait... \n ... what?", ["Wait... \n ...", "what?"]),
    ],
)
def test_sentences(text: str, sentences: list[str]) -> None:
    assert [text[start:end] for start, end in split_sentences(text)] == sentences


@given(st.text(alphabet="ab1. \n。！」)\"'?Dr(", max_size=60))
def test_every_character_is_in_one_sentence(text: str) -> None:
    spans = split_sentences(text)
    covered = [at for start, end in spans for at in range(start, end)]
    assert covered == sorted(set(covered))
    assert {at for at, character in enumerate(text) if not character.isspace()} <= set(covered)
    assert all(text[start:end] == text[start:end].strip() != "" for start, end in spans)


def test_a_sentence_is_left_out() -> None:
    text = "One. Two. Three."
    left = [without_sentence(text, start, end) for start, end in split_sentences(text)]
    assert left == ["Two. Three.", "One. Three.", "One. Two."]
    assert without_sentence("只有。两个。", 0, 3) == "两个。"
