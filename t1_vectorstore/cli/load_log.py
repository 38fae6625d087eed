"""The log of a load for machines: JSON Lines, appended to a file."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from t1_vectorstore.indexing import LoadProgress, LoadReport

SECONDS = 5.0
"""Between two lines of progress."""


class LoadLog:
    """One line when a load begins, one every few seconds, and one when it ends, however that is.

    Each has ``time`` (UTC) and ``event``: ``begin``, ``progress`` (the fields of ``LoadProgress``), and then either
    ``report`` (those of ``LoadReport``) or ``error`` (the message, and how far it got). A load whose last line is
    neither was killed.
    """

    def __init__(self, file: Path) -> None:
        """Append to ``file``."""
        self._file = file.open("a", encoding="utf-8")
        self._last: LoadProgress | None = None
        self._written = time.monotonic()
        self._line("begin")

    def progress(self, progress: LoadProgress) -> None:
        """Take note, and write it down if the last time was a while ago."""
        self._last = progress
        if time.monotonic() - self._written >= SECONDS:
            self._line("progress", **asdict(progress))

    def report(self, report: LoadReport) -> None:
        """It came to its end."""
        self._line("report", **asdict(report))

    def __enter__(self) -> LoadLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            reached = asdict(self._last) if self._last else {}
            self._line("error", error=f"{type(error).__name__}: {error}", **reached)
        self._file.close()

    def _line(self, event: str, **more: Any) -> None:  # noqa: ANN401 - anything JSON
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self._file.write(json.dumps({"time": now, "event": event, **more}) + "\n")
        self._file.flush()
        self._written = time.monotonic()
