"""Progress on standard error, for as long as it is a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from t1_vectorstore.cli.console import messages, one_line

if TYPE_CHECKING:
    from rich.progress import Progress

    from t1_vectorstore.indexing import LoadProgress
    from t1_vectorstore.types import Indexing


REFRESH = 4
"""Times a second that the screen is redrawn; more is only taken from the model."""


@contextmanager
def busy(doing: str) -> Iterator[None]:
    """A spinner while something of unknown length goes on."""
    console = messages()
    if not console.is_terminal:
        yield
        return
    with console.status(one_line(doing), refresh_per_second=REFRESH):
        yield


class LoadBar:
    """What a load has done, how fast, and how long it will still take."""

    def __init__(self, bar: Progress, total: int | None) -> None:
        """Draw on ``bar``; ``total`` bytes are to be read, if that is known."""
        self._bar = bar
        self._task = bar.add_task("", total=total, more="")
        self._read = 0

    def read(self, more: int) -> None:
        """So many more bytes of the source have been read."""
        self._read += more

    def show(self, progress: LoadProgress) -> None:
        """The load has come so far."""
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
        # A small source is read at once, long before the model is done with it.
        done = (progress.unchanged + progress.stored) / progress.chunks if progress.chunks else 1.0
        self._bar.update(self._task, completed=self._read * done, more=", ".join(filter(None, parts)))


@contextmanager
def load_bar(total: int | None = None) -> Iterator[LoadBar]:
    """A bar for a load; ``total`` bytes of source if that is known, and then with the time that is left."""
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.table import Column

    share = [BarColumn(bar_width=10), TextColumn("{task.percentage:>3.0f}%"), TimeRemainingColumn()] if total else []
    console = messages()
    with Progress(
        SpinnerColumn(),
        *(share or [TimeElapsedColumn()]),
        TextColumn("{task.fields[more]}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
        console=console,
        transient=True,
        refresh_per_second=REFRESH,
        disable=not console.is_terminal,
    ) as bar:
        yield LoadBar(bar, total)


@contextmanager
def settling() -> Iterator[Callable[[Indexing], None]]:
    """A line for the wait until a server has indexed what it was given."""
    console = messages()
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status("", refresh_per_second=REFRESH) as status:

        def show(indexing: Indexing) -> None:
            status.update(f"indexing: {indexing.indexed:,} of {indexing.points:,} vectors; searches work meanwhile")

        yield show


@contextmanager
def counting(total: int) -> Iterator[Callable[[str, int], None]]:
    """A bar for work in known numbers; it is told what is being done, and how much more of it is."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = messages()
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=16), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=console, transient=True, refresh_per_second=REFRESH, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("", total=total)

        def advance(doing: str, more: int) -> None:
            bar.update(task, advance=more, description=one_line(doing))

        yield advance
