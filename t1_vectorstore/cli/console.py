"""Printing: results to standard output, messages to standard error.

Text of users and documents is printed as text: no control character and no markup in it takes effect.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

MAX_PRINTED = 10
"""Maximum number of problems of one kind that are printed."""

# Control characters except newline and tab, lone surrogates, and characters that reverse the direction of text.
_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """Replace every character that a terminal would act on by a visible one: ESC becomes ``␛``, others ``�``."""
    return _UNSAFE.sub(lambda match: _symbol(ord(match[0])), text)


def one_line(text: str, max_length: int | None = None) -> str:
    """Return the visible text on one line, shortened to at most ``max_length`` characters."""
    line = " ".join(visible(text).split())
    return line if max_length is None or len(line) <= max_length else f"{line[: max_length - 1].rstrip()}…"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 chunk``, ``2,000 chunks``, ``2 queries``."""
    plural = f"{noun.removesuffix('y')}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def styled(text: str, style: str = "") -> Text:
    """Return visible text in a style, without interpreting markup."""
    from rich.text import Text

    return Text(visible(text), style=style)


def print_indented(console: Console, text: str, style: str = "", by: int = 4) -> None:
    """Print text as an indented block. A terminal also indents the lines that it wraps."""
    from rich.padding import Padding

    if console.is_terminal:
        console.print(Padding(styled(text, style), (0, 0, 0, by)), soft_wrap=False)
        return
    for line in text.splitlines():
        console.print(styled(" " * by + line, style))


def stdout_console() -> Console:
    """Return a console for standard output, which wraps lines only in a terminal."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=not sys.stdout.isatty(), emoji=False)


def stderr_console() -> Console:
    """Return a console for standard error."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


def print_text(text: str, *, wrap: bool = True) -> None:
    """Print text on standard output; with ``wrap``, a terminal breaks lines between words."""
    stdout_console().print(styled(text), soft_wrap=None if wrap else True)


def print_json(value: Any) -> None:  # noqa: ANN401 - any JSON value
    """Print a value as JSON on standard output, in ASCII only."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def note(text: str) -> None:
    """Print one line on standard error."""
    sys.stderr.write(f"{one_line(text)}\n")


def print_problems(title: str, count: int, first: Sequence[str]) -> None:
    """Print problems of one kind on standard error, if there are any: their number, a title and the first few."""
    if not count:
        return
    printed = first[:MAX_PRINTED]
    note(f"{count:,} {title}:")
    for line in printed:
        note(f"- {one_line(line, 300)}")
    if count > len(printed):
        note(f"- ... and {count - len(printed):,} more")


def _symbol(code: int) -> str:
    return chr(0x2400 + code) if code < 0x20 else "\u2421" if code == 0x7F else "\ufffd"
