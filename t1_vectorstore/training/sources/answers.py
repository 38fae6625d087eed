"""A chat model's answers, kept in a file as they come: what was paid for is not asked for again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Lock

from pydantic import BaseModel, ConfigDict, ValidationError

from t1_vectorstore.errors import CorpusError


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    shown: list[str]
    answer: str


class Answers:
    """Answers by the ids of the documents that were shown, in the order in which they came.

    Attributes:
        file: Where they are kept, one on a line.
    """

    def __init__(self, file: Path) -> None:
        """Read what ``file`` has from earlier runs; a last line that a kill cut off is removed.

        Raises:
            CorpusError: Another line is no answer.
        """
        self.file = file
        self._answers = {tuple(line.shown): line.answer for line in _read(file)}
        self._lock = Lock()

    def __len__(self) -> int:
        """How many there are, of all runs."""
        return len(self._answers)

    def __contains__(self, shown: Sequence[str]) -> bool:
        """Whether these documents, in this order, have been asked about."""
        return tuple(shown) in self._answers

    def __iter__(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Yield what was shown, and the answer."""
        return iter(self._answers.items())

    def add(self, shown: Sequence[str], answer: str) -> None:
        """Keep an answer; the thread that got it calls this, so that no other thread's failure can lose it."""
        line = json.dumps({"shown": list(shown), "answer": answer}, ensure_ascii=False) + "\n"
        with self._lock:
            with self.file.open("ab") as file:
                file.write(line.encode())
            self._answers[tuple(shown)] = answer


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
