"""Dead letters: every document that a load could not store, in a file that can be fixed and loaded again.

Each line is a JSON record ``{"id", "text", "metadata", "t1_failure"}``. The readers ignore the last field, the reason,
so a fixed file is a corpus. A document that cannot be written as JSON has its ``repr`` instead of ``text``: loading the
line unchanged fails again, rather than storing something else.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from t1_vectorstore.metadata import to_json
from t1_vectorstore.readers import FAILURE_FIELD
from t1_vectorstore.types import Document

_SYNC_SECONDS = 1.0
_MAX_REPR = 2000  # in characters


def refuse_other_file(path: str | os.PathLike[str]) -> None:
    """Refuse a file with a content that is no dead letters, such as a mistyped name: it would be overwritten.

    A file without a content, one that does not exist, and a device or pipe are accepted.

    Raises:
        ValueError: The first line of the file is no dead letter.
        OSError: The file cannot be read.
    """
    file = Path(path)
    if not file.is_file():
        return
    with file.open("rb") as lines:
        first = lines.readline()
    try:
        is_letter = not first or FAILURE_FIELD in json.loads(first)
    except (ValueError, TypeError, RecursionError):
        is_letter = False
    if not is_letter:
        raise ValueError(
            f"{file} would be overwritten, and was not written as a file of failed documents (its first line has no "
            f"field {FAILURE_FIELD!r}); write to another file, or delete this one"
        )


class DeadLetters:
    """A file to which each failure is appended immediately, so that a killed process leaves all failures found so far.

    Each load starts with an empty file, and a rerun of a killed load finds the same failures again. So after a finished
    load the file holds exactly what that load could not store. Thread-safe.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Create an empty file, in place of an earlier file of dead letters.

        Raises:
            OSError: It cannot be written.
            ValueError: It exists and holds something else.
        """
        refuse_other_file(path)
        self._file = Path(path).open("wb", buffering=0)  # noqa: SIM115 - closed by close
        self._lock = threading.Lock()
        self._synced = time.monotonic()

    def write(self, document: Document | None, reason: str) -> None:
        """Append a document and the reason; for an item that could not be read as a document, only the reason."""
        line = _line(document, reason)
        with self._lock:
            self._file.write(line)
            if time.monotonic() - self._synced > _SYNC_SECONDS:  # only a power failure could lose unsynced lines
                self._sync()

    def close(self) -> None:
        """Sync and close the file."""
        with self._lock:
            if not self._file.closed:
                self._sync()
                self._file.close()

    def _sync(self) -> None:
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()


def _line(document: Document | None, reason: str) -> bytes:
    record: dict[str, Any] = {}
    if document is not None:
        record = {"id": document.id, "text": document.text}
        try:
            if isinstance(document.metadata, Mapping):  # a reader would take null for empty metadata
                metadata = to_json(document.metadata, "the document")
                return _encode({**record, "metadata": metadata, FAILURE_FIELD: reason})
        except (TypeError, ValueError, RecursionError):
            pass
        record = {"id": document.id} if isinstance(document.id, str) else {}
        record["repr"] = _repr(document)
    return _encode({**record, FAILURE_FIELD: reason})


def _encode(record: dict[str, Any]) -> bytes:
    line = json.dumps(record, allow_nan=False)
    if json.loads(line) != record:  # such as a number as a key, which JSON turns into a string
        raise ValueError("another document would be read back")
    return (line + "\n").encode("ascii")


def _repr(document: Document) -> str:
    try:
        return repr(document)[:_MAX_REPR]
    except Exception as error:  # noqa: BLE001 - metadata can be any object
        return f"a document that cannot be shown: {type(error).__name__}"
