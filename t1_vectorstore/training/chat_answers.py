"""A chat model's answers, kept in a file as they come: what was paid for is not asked for again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from threading import Lock

from pydantic import BaseModel, ConfigDict, ValidationError

from t1_vectorstore.errors import CorpusError


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    shown: list[str]
    answer: str
    digest: str | None = None
    """Of the passages; answers of before it was kept have none, and are taken to be about what is there now."""


class Answers:
    """Answers by the ids of the passages that were shown, in the order in which they came.

    Attributes:
        file: Where they are kept, one on a line.
        stale: How many are about passages that are gone, or read otherwise now.
    """

    def __init__(self, file: Path, passages: Mapping[str, str]) -> None:
        """Read what ``file`` has from earlier runs; a last line that a kill cut off is removed.

        Args:
            file: Where they are kept.
            passages: What can be shown, by id.

        Raises:
            CorpusError: Another line is no answer.
        """
        self.file = file
        self._passages = passages
        lines = _read(file)
        self._answers = {tuple(line.shown): line.answer for line in lines if self._holds(line)}
        self.stale = sum(not self._holds(line) for line in lines)
        self._lock = Lock()

    def __len__(self) -> int:
        """How many there are, of all runs, with those that are stale."""
        return len(self._answers) + self.stale

    def __contains__(self, shown: Sequence[str]) -> bool:
        """Whether these passages, in this order, have been asked about as they are."""
        return tuple(shown) in self._answers

    def __iter__(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Yield what was shown, and the answer, unless it is stale."""
        return iter(self._answers.items())

    def add(self, shown: Sequence[str], answer: str) -> None:
        """Keep an answer; the thread that got it calls this, so that no other thread's failure can lose it."""
        record = {"shown": list(shown), "answer": answer, "digest": self._digest(shown)}
        line = json.dumps(record, ensure_ascii=False) + "\n"
        with self._lock:
            with self.file.open("ab") as file:
                file.write(line.encode())
            self._answers[tuple(shown)] = answer

    def _holds(self, line: _Line) -> bool:
        known = self._passages.keys() >= set(line.shown)
        return known and line.digest in (None, self._digest(line.shown))

    def _digest(self, shown: Sequence[str]) -> str:
        texts = [self._passages[name] for name in shown]
        return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:16]


def _read(file: Path) -> list[_Line]:
    data = file.read_bytes() if file.is_file() else b""
    *lines, last = data.split(b"\n")  # at nothing else: an answer may hold the other line ends of Unicode
    kept = []
    for number, line in enumerate(lines, 1):
        answer = _parsed(line)
        if answer is None:
            raise CorpusError(f"{file}:{number}: no answer of an earlier run: remove the line")
        kept.append(answer)
    if answer := _parsed(last):  # whole: an editor took its line end away
        kept.append(answer)
        with file.open("ab") as end:
            end.write(b"\n")
    elif last:
        with file.open("r+b") as end:
            end.truncate(len(data) - len(last))
    return kept


def _parsed(line: bytes) -> _Line | None:
    try:
        return _Line.model_validate_json(line)
    except ValidationError:
        return None
