"""Cut documents into the chunks that are embedded and stored.

A document that fits is one chunk, exactly as it is, and keeps the document's id. A longer one becomes chunks
``a#chunk-0``, ``a#chunk-1``, ...: the same text and the same settings always give the same ids. Every chunk is a slice
of the document (``chunk.text == document.text[chunk.start:chunk.end]``) and every character that is not white space
lies in at least one chunk.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from t1_vectorstore.errors import InvalidText
from t1_vectorstore.types import Chunk, Document

DEFAULT_SIZE = 1600
"""Characters in a chunk: about 400 tokens of English, a few paragraphs."""

# From the best place to cut to the worst. A cut falls at the end of a match. Each pattern starts at one fixed
# character, so that no text makes it backtrack.
_BOUNDARIES = (
    re.compile(r"\n[ \t\r]*\n"),  # paragraph
    re.compile(r"\n"),  # line
    re.compile(r"(?<=[.!?…])[\"'”’»)\]]*\s|[。！？｡][”’」』）]*"),  # sentence
    re.compile(r"\s"),  # word
)
_NOT_SPACE = re.compile(r"\S")
_ZERO_WIDTH_JOINER = "\u200d"


def document_id(document: Document) -> str:
    """The document's id, or the SHA-256 (hex) of its text when it has none."""
    if document.id is not None:
        return document.id
    return hashlib.sha256(document.text.encode("utf-8", "surrogatepass")).hexdigest()


def chunk_id(document_id: str, index: int) -> str:
    """The id of one chunk, counted from 0, of a document that needs more than one."""
    return f"{document_id}#chunk-{index}"


@dataclass(frozen=True, slots=True)
class Chunker:
    """Cuts documents into chunks, at the best natural boundary in the second half of what fits.

    Attributes:
        size: the most that a chunk holds, in units of ``length``.
        overlap: how much of a chunk's end the next one repeats, at most half of ``size``.
        length: measures a text, for example in tokens; must not shrink much when the text grows. ``None`` counts
            characters. One character (with its accents) is never cut, even where it measures more than ``size``.
    """

    size: int = DEFAULT_SIZE
    overlap: int = 0
    length: Callable[[str], int] | None = None

    def __post_init__(self) -> None:
        """Refuse sizes that cannot work."""
        if self.size < 1:
            raise ValueError(f"chunk size must be at least 1, got {self.size!r}")
        if not 0 <= self.overlap <= self.size // 2:
            raise ValueError(
                f"overlap must be between 0 and half of the chunk size ({self.size // 2}), got {self.overlap!r}"
            )

    def split(self, document: Document) -> list[Chunk]:
        """Cut one document.

        Returns:
            its chunks, in the order of the text; at least one.

        Raises:
            InvalidText: the text is empty, only white space, or holds a lone surrogate.
            TypeError: it is not a string.
        """
        _check(document.text)
        name, text = document_id(document), document.text
        if self._fits(text, 0, len(text)):
            return [Chunk(name, name, text, 0, len(text), 0, document.metadata)]
        return [
            Chunk(chunk_id(name, index), name, text[start:end], start, end, index, document.metadata)
            for index, (start, end) in enumerate(self._spans(text))
        ]

    def _spans(self, text: str) -> Iterator[tuple[int, int]]:
        start, done = 0, _next_word(text, 0)  # everything before `done` is white space or lies in a chunk
        while done < len(text):
            start = _next_word(text, start)
            limit = self._limit(text, start)
            if limit <= done:  # the overlap leaves no room for anything new
                start = done
                continue
            end = limit if limit == len(text) else self._cut(text, start, limit, done)
            yield start, start + len(text[start:end].rstrip())
            done = _next_word(text, end)
            start = self._restart(text, start, end)

    def _fits(self, text: str, start: int, end: int) -> bool:
        measure = self.length or len
        return measure(text[start:end]) <= self.size

    def _limit(self, text: str, start: int) -> int:
        """The furthest end at which a chunk from ``start`` still fits; always after ``start``."""
        if self.length is None:
            return min(start + self.size, len(text))
        return start + max(1, _longest(len(text) - start, self.size, lambda n: self._fits(text, start, start + n)))

    def _cut(self, text: str, start: int, limit: int, done: int) -> int:
        """The best end between ``done`` and ``limit``, in the second half of the chunk."""
        floor = max(start + (limit - start) // 2, done)
        reach = _next_word(text, limit)  # white space after the last word that fits is trimmed, and may be the best cut
        for boundary in _BOUNDARIES:
            ends = [match.end() for match in boundary.finditer(text, floor, reach)]
            for end in reversed(ends):
                if end > floor and self._still_fits(text, start, end):
                    return end
        for end in range(limit, floor, -1):
            if not _joined(text, end, start) and self._still_fits(text, start, end):
                return end
        return limit  # one endless pile of accents

    def _still_fits(self, text: str, start: int, end: int) -> bool:
        """A part of what fits can measure more in tokens, rarely and by little; in characters it cannot."""
        return self.length is None or self.length(text[start:end].rstrip()) <= self.size

    def _restart(self, text: str, start: int, end: int) -> int:
        """Where the next chunk begins: ``end``, or at most ``overlap`` before it, at the start of a word."""
        if not self.overlap:
            return end
        measure = self.length or len
        back = end - _longest(end - start - 1, self.overlap, lambda n: measure(text[end - n : end]) <= self.overlap)
        if not text[back - 1].isspace() and (space := _BOUNDARIES[-1].search(text, back, end)):
            return space.end()
        while back < end and _joined(text, back, start):
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
        raise InvalidText(
            f"the text holds the lone surrogate {text[error.start]!r} at character {error.start}"
        ) from None


def _next_word(text: str, at: int) -> int:
    found = _NOT_SPACE.search(text, at)
    return found.start() if found else len(text)


def _longest(most: int, guess: int, fits: Callable[[int], bool]) -> int:
    """The largest n in ``0..most`` for which ``fits`` holds, in work near-linear in n: doubling, then bisection."""
    low, high = 0, min(guess, most)
    while fits(high):
        if high == most:
            return most
        low, high = high, min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _joined(text: str, at: int, since: int) -> bool:
    """Whether a cut before ``text[at]`` tears one visible character: an accent, a family emoji, a flag, a syllable."""
    before, after = text[at - 1], text[at]
    if unicodedata.category(after) in ("Mn", "Mc", "Me") or _ZERO_WIDTH_JOINER in (before, after):
        return True
    if "\U0001f3fb" <= after <= "\U0001f3ff" or "\u1160" <= after <= "\u11ff":  # skin tones; Korean vowels and finals
        return True
    if before == "\r" and after == "\n":
        return True
    run = 0  # flags are pairs of letters: inside a run that began after `since`, only every other place is a border
    while _regional(after) and run < at - since and _regional(text[at - 1 - run]):
        run += 1
    return run % 2 == 1


def _regional(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"
