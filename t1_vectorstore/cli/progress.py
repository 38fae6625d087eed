"""Progress: on standard error, only if that is a terminal, and in a log for machines."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t1_vectorstore.cli.console import one_line, stderr_console, styled

if TYPE_CHECKING:
    from rich.progress import Progress

    from t1_vectorstore.indexing import LoadProgress, LoadReport
    from t1_vectorstore.types import Indexing

REFRESH_PER_SECOND = 4
"""How often the screen is redrawn; redrawing takes CPU time from the model."""
LOG_SECONDS = 5.0
"""Time between two lines of progress in a log."""


@contextmanager
def busy(activity: str) -> Iterator[Callable[[str], None]]:
    """Show a spinner with a text, which the function that this yields replaces."""
    console = stderr_console()
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status(styled(one_line(activity)), refresh_per_second=REFRESH_PER_SECOND) as status:
        yield lambda text: status.update(styled(one_line(text)))


@contextmanager
def indexing_status() -> Iterator[Callable[[Indexing], None]]:
    """Show how many vectors a server has indexed, while a command waits for it."""
    with busy("") as update:
        yield lambda indexing: update(
            f"indexing: {indexing.indexed:,} of {indexing.points:,} vectors; searches work meanwhile"
        )


class LoadBar:
    """The progress bar of a load: share done, counts, speed and remaining time."""

    def __init__(self, bar: Progress, total: int | None) -> None:
        """Draw on ``bar``; ``total`` is the size of the sources in bytes, if it is known."""
        self._bar = bar
        self._task = bar.add_task("", total=total, counts="")
        self._bytes_read = 0

    def read(self, count: int) -> None:
        """Note that ``count`` more bytes of the sources have been read."""
        self._bytes_read += count

    def show(self, progress: LoadProgress) -> None:
        """Draw the progress of the load."""
        seconds = progress.seconds or 1.0
        failed = progress.failed + progress.unread
        parts = [
            f"{progress.documents:,} documents",
            f"{progress.unchanged:,} chunks unchanged" if progress.unchanged else "",
            f"{progress.stored:,} stored",
            f"{failed:,} failed" if failed else "",
            f"{progress.tokens / seconds:,.0f} tokens/s",
            f"{progress.stored / seconds:,.0f} points/s",
        ]
        # The bytes that were read count by the share of their chunks that is stored: a small source is read at once,
        # long before the model has encoded it.
        done = (progress.unchanged + progress.stored) / progress.chunks if progress.chunks else 1.0
        self._bar.update(self._task, completed=self._bytes_read * done, counts=", ".join(filter(None, parts)))


@contextmanager
def load_bar(total: int | None = None) -> Iterator[LoadBar]:
    """Show the progress of a load; with ``total``, the size of the sources in bytes, also the remaining time."""
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.table import Column

    share = [BarColumn(bar_width=10), TextColumn("{task.percentage:>3.0f}%"), TimeRemainingColumn()]
    counts = TextColumn("{task.fields[counts]}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1))
    with _progress(SpinnerColumn(), *(share if total else [TimeElapsedColumn()]), counts) as bar:
        yield LoadBar(bar, total)


@contextmanager
def query_bar(total: int) -> Iterator[Callable[[str, int], None]]:
    """Show how many of ``total`` queries are done; the function that this yields takes an activity and a number."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    description = TextColumn("{task.description}", markup=False)
    with _progress(description, BarColumn(bar_width=16), MofNCompleteColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task("", total=total)
        yield lambda activity, count: bar.update(task, advance=count, description=one_line(activity))


def _progress(*columns: Any) -> Progress:  # noqa: ANN401 - rich's columns
    from rich.progress import Progress

    console = stderr_console()
    return Progress(
        *columns,
        console=console,
        transient=True,
        refresh_per_second=REFRESH_PER_SECOND,
        disable=not console.is_terminal,
    )


class LoadLog:
    """A log of a load for machines: JSON Lines, appended to a file.

    Each line has ``time`` (UTC) and ``event``: ``begin``, ``progress`` every few seconds (the fields of
    ``LoadProgress``), and finally ``report`` (the fields of ``LoadReport``) or ``error`` (the message and the latest
    progress). If the last line is neither, the process was killed.
    """

    def __init__(self, file: Path) -> None:
        self._file = file.open("a", encoding="utf-8")
        self._latest: dict[str, Any] = {}
        self._written = time.monotonic()
        self._write("begin")

    def progress(self, progress: LoadProgress) -> None:
        """Keep the progress, and write it if the latest line is old enough."""
        self._latest = asdict(progress)
        if time.monotonic() - self._written >= LOG_SECONDS:
            self._write("progress", **self._latest)

    def report(self, report: LoadReport) -> None:
        """Write the report of a load that came to its end."""
        self._write("report", **asdict(report))

    def __enter__(self) -> LoadLog:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is not None:
            self._write("error", error=f"{type(error).__name__}: {error}", **self._latest)
        self._file.close()

    def _write(self, event: str, **fields: Any) -> None:  # noqa: ANN401 - any JSON value
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self._file.write(json.dumps({"time": now, "event": event, **fields}) + "\n")
        self._file.flush()
        self._written = time.monotonic()
