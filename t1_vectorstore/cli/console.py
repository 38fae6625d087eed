"""Printing: what users wrote is shown as text, never obeyed by the terminal or taken for markup."""

from __future__ import annotations

import json
import sys
import unicodedata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

# Controls move the cursor, recolour or retitle the terminal; "Cf" holds those that reverse the direction of text.
_OBEYED = ("Cc", "Cs")
_KEPT = "\n\t"
_TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def visible(text: str) -> str:
    """The text with everything a terminal would obey made visible: ESC is shown as ``␛``, others as ``�``."""
    return "".join(_shown(character) for character in text)


def one_line(text: str, most: int | None = None) -> str:
    """The visible text on one line, shortened to at most so many characters."""
    line = " ".join(visible(text).split())
    return line if most is None or len(line) <= most else f"{line[: most - 1].rstrip()}…"


def counted(number: int, what: str) -> str:
    """``1 chunk``, ``2,000 chunks``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def styled(text: str, style: str = "") -> Text:
    """Visible text in a style, its brackets only brackets."""
    from rich.text import Text

    return Text(visible(text), style=style)


def indented(console: Console, text: str, style: str = "", by: int = 4) -> None:
    """Print visible text as a block, indented also where a terminal makes it wrap."""
    from rich.padding import Padding

    if console.is_terminal:
        console.print(Padding(styled(text, style), (0, 0, 0, by)), soft_wrap=False)
        return
    for line in text.splitlines():
        console.print(styled(" " * by + line, style))


def output() -> Console:
    """Standard output; wraps lines for a terminal only."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=not sys.stdout.isatty(), emoji=False)


def messages() -> Console:
    """Standard error."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


def note(text: str) -> None:
    """One line on standard error."""
    sys.stderr.write(f"{one_line(text)}\n")


def print_json(value: Any) -> None:  # noqa: ANN401 - anything JSON
    """A value on standard output, for machines: ASCII only, so that nothing in it needs care."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def _shown(character: str) -> str:
    if character in _KEPT or unicodedata.category(character) not in _OBEYED:
        return "\ufffd" if character in _TURNING else character
    code = ord(character)
    return chr(0x2400 + code) if code < 0x20 else "\u2421" if code == 0x7F else "\ufffd"
