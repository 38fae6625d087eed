"""Split documents into the chunks that are embedded and stored.

A document that fits is one chunk, unchanged, with the document's id. A longer one becomes chunks ``a#chunk-0``,
``a#chunk-1``, ...: the same text and settings always give the same ids. Every chunk is a slice of the document
(``chunk.text == document.text[chunk.start:chunk.end]``), and every character except white space is in at least one
chunk.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from t1_vectorstore.errors import InvalidText
from t1_vectorstore.sentences import SENTENCE_END
from t1_vectorstore.types import Chunk, Document

DEFAULT_SIZE = 1600
"""Default chunk size in characters: about 400 tokens of English, a few paragraphs."""

# From the best boundary to the worst; a chunk ends at the end of a match. Each pattern starts with a fixed character,
# so no text makes it backtrack.
_BOUNDARIES = (
    re.compile(r"\n[ \t\r]*\n"),  # paragraph
    re.compile(r"\n"),  # line
    SENTENCE_END,
    re.compile(r"\s"),  # word
)
_NOT_SPACE = re.compile(r"\S")
_ZERO_WIDTH_JOINER = "\u200d"


def document_id(document: Document) -> str:
    """Return the document's id; if it has none, the SHA-256 (hex) of its text."""
    if document.id is not None:
        return document.id
    return hashlib.sha256(document.text.encode("utf-8", "surrogatepass")).hexdigest()


def reported_id(document: Document) -> str:
    """Return the id under which a failure of a document is reported, whatever is wrong with the document."""
    if document.id is None and isinstance(document.text, str):
        return document_id(document)
    return str(document.id)


def chunk_id(document_id: str, index: int) -> str:
    """Return the id of a chunk, counted from 0, of a document with several chunks."""
    return f"{document_id}#chunk-{index}"


@dataclass(frozen=True, slots=True)
class Chunker:
    """Splits documents into chunks, each at the best boundary in the second half of the text that fits.

    Attributes:
        size: Maximum size of a chunk, in units of ``length``.
        overlap: Size of the end of a chunk that the next one repeats; at most half of ``size``.
        length: Function that measures a text, for example in tokens. It must not shrink much when the text grows.
            ``None`` counts characters. One character (with its accents) is never split, even if it exceeds ``size``.
        keep_spaces: Leave the white space between chunks in the chunk before it, so that the document can be put
            together again from its chunks, exactly.
    """

    size: int = DEFAULT_SIZE
    overlap: int = 0
    length: Callable[[str], int] | None = None
    keep_spaces: bool = False

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"chunk size must be at least 1, got {self.size!r}")
        if not 0 <= self.overlap <= self.size // 2:
            raise ValueError(f"overlap must be between 0 and {self.size // 2}, half of the size, got {self.overlap!r}")

    def split(self, document: Document) -> list[Chunk]:
        """Return the chunks of a document, in the order of the text; at least one.

        Raises:
            InvalidText: The text is empty, only white space, or has a lone surrogate.
            TypeError: The text is not a string.
        """
        _check(document.text)
        name, text = document_id(document), document.text
        if self._measure(text) <= self.size:
            return [Chunk(name, name, text, 0, len(text), 0, document.metadata)]
        spans = list(self._spans(text))
        if self.keep_spaces:
            starts = [0, *(start for start, _ in spans[1:])]
            ends = [max(end, following) for (_, end), following in zip(spans, [*starts[1:], len(text)], strict=True)]
            spans = list(zip(starts, ends, strict=True))
        return [
            Chunk(chunk_id(name, index), name, text[start:end], start, end, index, document.metadata)
            for index, (start, end) in enumerate(spans)
        ]

    def _spans(self, text: str) -> Iterator[tuple[int, int]]:
        start, done = 0, _next_word(text, 0)  # everything before `done` is white space or in a chunk
        while done < len(text):
            start = _next_word(text, start)
            limit = self._limit(text, start)
            if limit <= done:  # the overlap fills the chunk: start after it
                start = done
                continue
            end = limit if limit == len(text) else self._best_end(text, start, limit, done)
            yield start, start + len(text[start:end].rstrip())
            done = _next_word(text, end)
            start = self._next_start(text, start, end)

    def _measure(self, text: str) -> int:
        return len(text) if self.length is None else self.length(text)

    def _limit(self, text: str, start: int) -> int:
        """Return the furthest end at which a chunk from ``start`` fits; always after ``start``."""
        if self.length is None:
            return min(start + self.size, len(text))
        longest = _longest(len(text) - start, self.size, lambda n: self._measure(text[start : start + n]) <= self.size)
        return start + max(1, longest)

    def _best_end(self, text: str, start: int, limit: int, done: int) -> int:
        """Return the best end between ``done`` and ``limit``, in the second half of the chunk."""
        lowest = max(start + (limit - start) // 2, done)
        # White space after the last word that fits is trimmed, and may be the best boundary.
        highest = _next_word(text, limit)
        for boundary in _BOUNDARIES:
            ends = [match.end() for match in boundary.finditer(text, lowest, highest)]
            for end in reversed(ends):
                if end > lowest and self._still_fits(text, start, end):
                    return end
        for end in range(limit, lowest, -1):
            if not _splits_character(text, end, start) and self._still_fits(text, start, end):
                return end
        return limit  # a single character with very many accents

    def _still_fits(self, text: str, start: int, end: int) -> bool:
        """Return whether a part of a fitting text fits too. In tokens, a part can measure slightly more, but rarely."""
        return self.length is None or self._measure(text[start:end].rstrip()) <= self.size

    def _next_start(self, text: str, start: int, end: int) -> int:
        """Return the start of the next chunk: ``end``, or the start of a word at most ``overlap`` before it."""
        if not self.overlap:
            return end
        back = end - _longest(
            end - start - 1, self.overlap, lambda n: self._measure(text[end - n : end]) <= self.overlap
        )
        if not text[back - 1].isspace() and (space := _BOUNDARIES[-1].search(text, back, end)):
            return space.end()
        while back < end and _splits_character(text, back, start):
            back += 1
        return back


def _check(text: str) -> None:
    if not isinstance(text, str):
        raise TypeError(f"a document's text must be a string, got {type(text).__name__}")
    if not text or text.isspace():
        raise InvalidText("the text is empty" if not text else f"the text is only white space ({len(text)} characters)")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidText(f"the text has a lone surrogate {text[error.start]!r} at character {error.start}") from None


def _next_word(text: str, position: int) -> int:
    found = _NOT_SPACE.search(text, position)
    return found.start() if found else len(text)


def _longest(limit: int, guess: int, fits: Callable[[int], bool]) -> int:
    """Return the largest n up to ``limit`` for which ``fits`` holds, by doubling and bisection: near-linear in n."""
    low, high = 0, min(guess, limit)
    while fits(high):
        if high == limit:
            return limit
        low, high = high, min(2 * high, limit)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _splits_character(text: str, position: int, start: int) -> bool:
    """Return whether a split before ``position`` divides a visible character: an accent, emoji, flag or syllable."""
    before, after = text[position - 1], text[position]
    if unicodedata.category(after) in ("Mn", "Mc", "Me") or _ZERO_WIDTH_JOINER in (before, after):
        return True
    if "\U0001f3fb" <= after <= "\U0001f3ff" or "\u1160" <= after <= "\u11ff":  # skin tones; Korean vowels and finals
        return True
    if before == "\r" and after == "\n":
        return True
    # A flag is a pair of regional indicators: in a run of them since `start`, every second position is between flags.
    run = 0
    while _is_regional(after) and run < position - start and _is_regional(text[position - 1 - run]):
        run += 1
    return run % 2 == 1


def _is_regional(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"
