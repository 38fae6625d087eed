"""Answers without a language model: the sentences of the sources that share most words with the question."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

SENTENCES = 2


def extract(question: str, thought: str, passages: Sequence[tuple[str, float]]) -> str:
    """Quote the best sentences, each with the number of its source.

    Args:
        question: The question.
        thought: The thought about it, whose words are used like the question's.
        passages: Text and score of each source, best first.
    """
    wanted = _words(f"{question} {thought}")
    quotes: list[tuple[float, str]] = []
    for number, (text, score) in enumerate(passages, 1):
        shared, sentence = max(((len(wanted & _words(each)), each) for each in _sentences(text)), default=(0, ""))
        if sentence:
            quotes.append((max(score, 0.0) * (1 + shared), f"{sentence} [{number}]"))
    return " ".join(quote for _, quote in sorted(quotes, reverse=True)[:SENTENCES])


def _sentences(text: str) -> Iterable[str]:
    return (" ".join(part.split()) for part in re.split(r"(?<=[.!?])\s+|\n+", text) if part.strip())


def _words(text: str) -> set[str]:
    return {word for word in re.findall(r"\w+", text.lower()) if len(word) > 2}
