"""Every way a command can end, as an exit code and one line on standard error."""

from __future__ import annotations

import errno
import warnings
from typing import Any

import typer
from typer.core import TyperGroup

from t1_vectorstore.cli.console import note

FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130


class Commands(TyperGroup):
    """The group of all commands; turns what they raise into exit codes."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - click's
        """Run the command that was asked for."""
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: note(f"note: {message}")
            try:
                return super().invoke(ctx)
            except KeyboardInterrupt as interrupt:
                note(f"interrupted{': ' if interrupt.args else ''}{' '.join(map(str, interrupt.args))}")
                raise typer.Exit(INTERRUPTED) from None
            except Exception as error:
                if ctx.params.get("debug") or _belongs_to_the_library(error):
                    raise
                note(f"error: {_line(error)}")
                raise typer.Exit(exit_code(error)) from None


def exit_code(error: Exception) -> int:
    """2 for what the caller can mend by calling differently, 1 for everything else."""
    return WRONG_USAGE if isinstance(error, ValueError | TypeError) or _is_our_word_on_a_file(error) else FAILED


def _is_our_word_on_a_file(error: Exception) -> bool:
    """Whether it is our own word that a file is there or is not; the system's has a number."""
    return isinstance(error, FileNotFoundError | FileExistsError) and error.errno is None


def _belongs_to_the_library(error: Exception) -> bool:
    """Whether the command line library reports it itself: wrong options, exits, a closed pipe."""
    module = type(error).__module__.split(".")[0]
    return module in ("typer", "click") or (isinstance(error, OSError) and error.errno == errno.EPIPE)


def _line(error: Exception) -> str:
    from t1_vectorstore.errors import T1Error

    text = " ".join(str(error).split())
    if text and (isinstance(error, T1Error | ValueError | TypeError) or _is_our_word_on_a_file(error)):
        return text
    return f"{type(error).__name__}: {text} (--debug shows where)"
