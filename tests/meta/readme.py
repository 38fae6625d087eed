"""Takes a Markdown page apart into the blocks of code that a reader would run, and runs them in order in one folder."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from typer.testing import CliRunner

ROOT = Path(__file__).parents[2]
SHELLS = ("bash", "console", "sh", "shell")


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, its code, where it begins, and why it is not run, if so."""

    language: str
    code: str
    line: int
    not_run: str | None

    def commands(self) -> Iterator[str]:
        """Shell commands, prompts and comments removed; in a ``console`` block only what follows ``$`` is one."""
        for line in self.code.replace("\\\n", " ").splitlines():
            command = line.removeprefix("$ ").strip()
            is_output = self.language == "console" and not line.startswith("$ ")
            if command and not is_output and not command.startswith("#"):
                yield command


def blocks(markdown: str) -> Iterator[Block]:
    """The Python and shell blocks; ``<!-- not run: reason -->`` directly above a block holds it back."""
    not_run: str | None = None
    for token in MarkdownIt().parse(markdown):
        if token.type == "fence":
            language = token.info.split()[0] if token.info.strip() else ""
            if language in ("python", *SHELLS):
                yield Block(language, token.content, (token.map or [0])[0] + 1, not_run)
            not_run = None
        elif token.type == "html_block" and (match := re.fullmatch(r"<!-- not run: (.+?) -->\s*", token.content)):
            not_run = match[1]
        elif token.type != "paragraph_close":
            not_run = None


def run(markdown: str) -> None:
    """Run every block in the current folder, Python blocks in one namespace; what is held back must at least parse.

    Raises:
        AssertionError: a command failed.
    """
    namespace: dict[str, Any] = {"__name__": "__readme__"}
    try:
        for block in blocks(markdown):
            if block.language == "python":
                _run_python(block, namespace)
            else:
                _close(namespace)  # a reader has left Python before typing a command
                _run_commands(block)
    finally:
        _close(namespace)


def _run_python(block: Block, namespace: dict[str, Any]) -> None:
    code = compile(block.code, f"README.md, line {block.line}", "exec")
    if not block.not_run:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(code, namespace)


def _close(namespace: dict[str, Any]) -> None:
    for value in namespace.values():
        if hasattr(value, "close") and not isinstance(value, type):
            value.close()


def _run_commands(block: Block) -> None:
    for command in block.commands():
        subprocess.run(["bash", "-n", "-c", command], check=True)
        if not block.not_run:
            _run(command)


def _run(command: str) -> None:
    program, *arguments = shlex.split(command, comments=True)
    if program == "make":
        subprocess.run(["make", "-n", "-C", str(ROOT), *arguments], check=True, stdout=subprocess.DEVNULL)
    elif program == "t1":
        from t1_vectorstore.cli import app

        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, f"{command}\n{result.output}"
    elif program not in ("cd", "git", "pip"):
        raise AssertionError(f"nobody checks {command!r}: mark the block with <!-- not run: reason -->")
