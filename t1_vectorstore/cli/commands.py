"""The classes of all commands: help in sections, and exceptions as exit codes with one line on standard error."""

from __future__ import annotations

import errno
import re
import warnings
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from t1_vectorstore.cli.console import note

FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130


class Command(TyperCommand):
    """A command whose help lists the options in plain sections, one for each ``rich_help_panel``.

    Typer's own panels need rich, whose import takes longer than all of ``t1 --help``.
    """

    def format_options(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - click's
        """Write the arguments, then each section of options in the order of its first option."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if (record := parameter.get_help_record(ctx)) is not None:
                title = getattr(parameter, "rich_help_panel", None) or f"{parameter.param_type_name.capitalize()}s"
                sections.setdefault(title, []).append(record)
        _write_sections(formatter, sections)


class CommandGroup(TyperGroup):
    """The group of all commands: its help lists them in sections, and exceptions of commands become exit codes."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - click's
        """Write the sections of commands, with their descriptions in one column."""
        longest = max(map(len, self.commands))
        sections: dict[str, list[tuple[str, str]]] = {}
        for name, command in self.commands.items():
            description = command.get_short_help_str(formatter.width - longest - 6)
            title = getattr(command, "rich_help_panel", None) or "Commands"
            sections.setdefault(title, []).append((name.ljust(longest), description))
        _write_sections(formatter, sections)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - click's
        """Run the command and print its warnings and its exception as one line each."""
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: note(f"note: {message}")
            try:
                return super().invoke(ctx)
            except KeyboardInterrupt as interrupt:
                note(": ".join(["interrupted", *map(str, interrupt.args)]))
                raise typer.Exit(INTERRUPTED) from None
            except Exception as error:
                if ctx.params.get("debug") or _is_reported_by_typer(error):
                    raise
                note(f"error: {_describe(error)}")
                raise typer.Exit(exit_code(error)) from None


# What an error of the library advises, and how the command line says it.
_WORDING = (
    (r"create it with hybrid=True to search by text as well", "t1 reindex --hybrid stores them"),
    (r"was created with hybrid=False and is opened with True", "stores no words: leave --hybrid out"),
    (r"leave (?!hybrid)\w+ out to open it as it is, or create another collection",
     "leave that out, or change it with t1 reindex"),
    (r"; leave hybrid out to open it as it is, or create another collection", ", or run t1 reindex --hybrid"),
    (r"open it with adopt=True \(--adopt\)", "give --adopt"),
    (r"\(leave_out=FILE, --leave-out FILE\)", "(--leave-out FILE)"),
    (r"\bscore_threshold\b", "--min-score"),
    (r"pass a think_threshold to searches instead", "search with --think-threshold instead"),
    (r"Collection\('(.+?)' at '(.+?)', .+?\)", r"\2"),
)  # fmt: skip


def exit_code(error: Exception) -> int:
    """Return 2 for a mistake in the command, and 1 for every other failure."""
    return WRONG_USAGE if isinstance(error, ValueError | TypeError) or _is_own_file_error(error) else FAILED


def _write_sections(formatter: Any, sections: dict[str, list[tuple[str, str]]]) -> None:  # noqa: ANN401 - click's
    for title, rows in sections.items():
        with formatter.section(title):
            formatter.write_dl(rows)


def _is_own_file_error(error: Exception) -> bool:
    """Whether this package raised a file error itself; those of the operating system have a number."""
    return isinstance(error, FileNotFoundError | FileExistsError) and error.errno is None


def _is_reported_by_typer(error: Exception) -> bool:
    """Whether Typer handles the exception: a usage error, an exit, a closed pipe."""
    module = type(error).__module__.split(".")[0]
    return module in ("typer", "click") or (isinstance(error, OSError) and error.errno == errno.EPIPE)


def _describe(error: Exception) -> str:
    from t1_vectorstore.errors import T1Error

    text = " ".join(str(error).split())
    if text and (isinstance(error, T1Error | ValueError | TypeError) or _is_own_file_error(error)):
        for written, said in _WORDING:
            text = re.sub(written, said, text)
        return text
    return f"{type(error).__name__}: {text} (--debug shows where)"
