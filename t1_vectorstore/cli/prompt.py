"""The prompt of ``t1 search INDEX`` without a query: one query a line, with the model kept in memory."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from t1_vectorstore.cli.console import note
from t1_vectorstore.cli.options import parse_filters

if TYPE_CHECKING:
    from t1_vectorstore.types import FilterLike

    Think: TypeAlias = bool | Literal["auto"] | None

PROMPT = "t1> "
HELP = """A line is a query, or one of:
  :filter KEY=VALUE   only documents with this metadata, or JSON such as {"year": {"gte": 2000}}; alone: all again
  :think, :nothink    whether to think about the next queries; :think auto only if the hits are unsure
  :limit NUMBER       maximum number of hits
  :help               this text
  :quit               end, as Ctrl-D does"""


def run(search: Callable[..., None], *, limit: int, filter: FilterLike | None, think: Think) -> int:
    """Answer the lines of standard input until it ends.

    A line that cannot be answered prints its error, and the next one is read.

    Args:
        search: Answers a query and prints the result; takes ``limit``, ``filter`` and ``think`` by keyword.
        limit: Maximum number of hits at the beginning.
        filter: Filter at the beginning.
        think: Whether to think at the beginning.

    Returns:
        The number of lines that could not be answered.
    """
    from t1_vectorstore.errors import T1Error

    settings: dict[str, Any] = {"limit": limit, "filter": filter, "think": think}
    failed = 0
    for line in _lines():
        try:
            if not line.startswith(":"):
                search(line, **settings)
            elif not _set(line, settings):
                return failed
        except (T1Error, ValueError, TypeError) as error:  # noqa: PERF203 - each line by itself
            failed += 1
            note(f"error: {error}")
    return failed


def _set(line: str, settings: dict[str, Any]) -> bool:
    """Carry out a command; return false to end."""
    command, _, value = line.partition(" ")
    value = value.strip()
    if command in (":quit", ":q"):
        return False
    if command in (":think", ":nothink"):
        if value and (command, value) != (":think", "auto"):
            raise ValueError(f"{command} takes nothing, or :think auto; got {value!r}")
        settings["think"] = "auto" if value else command == ":think"
    elif command == ":filter":
        settings["filter"] = parse_filters([value] if value else None)
    elif command == ":limit":
        if not value.isdigit() or int(value) < 1:
            raise ValueError(f":limit takes a whole number of at least 1, got {value!r}")
        settings["limit"] = int(value)
    elif command == ":help":
        for each in HELP.splitlines():
            sys.stderr.write(f"{each}\n")
    else:
        raise ValueError(f"there is no command {command}; :help lists them")
    return True


def _lines() -> Iterator[str]:
    """Yield the lines that are not blank. A terminal gets a prompt, with a history and line editing."""
    if sys.stdin.isatty():
        with suppress(ImportError):  # not on Windows
            import readline  # noqa: F401 - input() uses it from now on
        note("one query a line; :help lists commands, Ctrl-D ends")
    while True:
        try:
            line = input(PROMPT) if sys.stdin.isatty() else next(sys.stdin)
        except (EOFError, StopIteration):
            return
        if line.strip():
            yield line.strip()
