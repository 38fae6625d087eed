"""Where the sentences of a text are, in scripts with spaces between sentences and in those without."""

from __future__ import annotations

import re

SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’»)\]]*\s|[。！？｡][”’」』）]*")
"""The end of a sentence, with the closing quotation marks and one white space after it. It starts with a fixed
character, so no text makes it backtrack."""

_END = re.compile(rf"\n|{SENTENCE_END.pattern}")
_ABBREVIATION = re.compile(r"(?:^|[\s(\[\"'])(?:\w|Dr|Mrs?|Ms|Prof|St|No|Fig|vs|cf|ca|al|approx|e\.g|i\.e)\.$", re.I)
_NUMBER = re.compile(r"[(\[]?\d+[.)\]]")  # of an item in a list


def split_sentences(text: str) -> list[tuple[int, int]]:
    """Return start and end of each sentence, in order, without the white space around it.

    A line is also a sentence. The numbers of a list and common abbreviations do not end one, and marks without a word
    belong to the sentence before them. Every character that is not white space is in exactly one sentence.
    """
    spans: list[tuple[int, int]] = []
    start = 0
    for end in [*(match.end() for match in _END.finditer(text)), len(text)]:
        sentence = text[start:end].strip()
        if not sentence:
            continue
        first = end - len(text[start:end].lstrip())
        if end < len(text) and (_ABBREVIATION.search(sentence) or _NUMBER.fullmatch(sentence)):
            continue  # goes on after the space
        if spans and not any(map(str.isalnum, sentence)):
            spans[-1] = spans[-1][0], first + len(sentence)
        else:
            spans.append((first, first + len(sentence)))
        start = end
    return spans


def without_sentence(text: str, start: int, end: int) -> str:
    """Return a text without the sentence ``start:end``, and without the white space after it."""
    return (text[:start] + text[end:].lstrip()).strip()
