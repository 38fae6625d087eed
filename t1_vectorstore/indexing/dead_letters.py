"""The dead letters of a load: every document it could not store, on disk, in a form that can be loaded again.

Each line is a JSON record ``{"id", "text", "metadata", "t1_failure"}``. The readers leave the last field, the reason,
out of the metadata, so that a mended file is a corpus. What cannot be written as JSON has no ``text``, but is shown by
its ``repr``: loading the line as it stands fails again, rather than storing something else.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from t1_vectorstore.readers import FAILURE_FIELD
from t1_vectorstore.types import Document

_SYNC_SECONDS = 1.0
_SHOWN = 2000  # characters of what cannot be written as JSON


class DeadLetters:
    """A file that each failure is appended to at once: a killed process leaves all that it had found.

    It begins empty with each load, and a load that was killed finds the same failures again when it is rerun. So after
    a load that came to its end it holds what that load could not store, and nothing else. Thread-safe.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Begin an empty file.

        Raises:
            OSError: it cannot be written.
        """
        self._file = Path(path).open("wb", buffering=0)  # noqa: SIM115 - open as long as this object
        self._lock = threading.Lock()
        self._synced = time.monotonic()

    def write(self, document: Document | None, reason: str) -> None:
        """Append a document and why it was not stored; or only the reason, for what could not be read as a document."""
        line = _line(document, reason)
        with self._lock:
            self._file.write(line)
            if time.monotonic() - self._synced > _SYNC_SECONDS:  # power failures; nothing else needs it
                self._sync()

    def close(self) -> None:
        """Make it last."""
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
        record = {"id": document.id, "text": document.text, "metadata": document.metadata}
        try:
            if isinstance(document.metadata, Mapping):  # a reader would take null for no metadata
                return _json({**record, FAILURE_FIELD: reason})
        except (TypeError, ValueError, RecursionError):
            pass
        name = {"id": document.id} if isinstance(document.id, str) else {}
        record = {**name, "repr": _repr(document)}
    return _json({**record, FAILURE_FIELD: reason})


def _json(record: dict[str, Any]) -> bytes:
    line = json.dumps(record, allow_nan=False)
    if json.loads(line) != record:  # such as a key that is a number, which JSON makes a string
        raise ValueError("another document would be read back")
    return (line + "\n").encode("ascii")


def _repr(document: Document) -> str:
    try:
        return repr(document)[:_SHOWN]
    except Exception as error:  # noqa: BLE001 - of whatever is in the metadata
        return f"a document that cannot be shown: {type(error).__name__}"
