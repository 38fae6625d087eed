"""Progress on standard error, for as long as it is a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from t1_vectorstore.cli.console import messages, one_line

if TYPE_CHECKING:
    from t1_vectorstore.ingest import LoadProgress


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


@contextmanager
def load_bar(total: int | None = None) -> Iterator[Callable[[LoadProgress], None]]:
    """A bar for a load; ``total`` documents if that is known."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    counted = [BarColumn(bar_width=16), MofNCompleteColumn()] if total else [TextColumn("{task.completed}")]
    columns = [SpinnerColumn(), *counted, TextColumn("documents{task.fields[more]}")]
    console = messages()
    with Progress(
        *columns,
        TimeElapsedColumn(),
        console=console,
        transient=True,
        refresh_per_second=REFRESH,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task("", total=total, more="")

        def show(progress: LoadProgress) -> None:
            speed = progress.tokens / progress.seconds if progress.seconds else 0.0
            done = progress.documents if total is None else min(progress.documents, total)
            failed = f", {progress.failed} failed" if progress.failed else ""
            more = f", {progress.stored:,} stored{failed}, {speed:,.0f} tokens/s"
            bar.update(task, completed=done, more=more)

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
