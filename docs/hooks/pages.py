"""Pages that are built from other files: the CLI reference, the tutorial notebook and the changelog."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]


def on_files(files: Files, config: Any) -> Files:  # noqa: ANN401 - mkdocs' configuration
    """Add the generated pages to the site."""
    notebook = files.get_file_from_path("tutorial.ipynb")
    if notebook is not None:
        files.remove(notebook)
    for name, text in (
        ("cli.md", cli_reference()),
        ("tutorial.md", tutorial()),
        ("changelog.md", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")),
    ):
        files.append(File.generated(config, name, content=text))
    return files


def tutorial() -> str:
    """Convert the notebook, with its stored outputs, to Markdown."""
    from nbconvert import MarkdownExporter

    text, _ = MarkdownExporter().from_filename(str(ROOT / "docs" / "tutorial.ipynb"))
    return str(text)


def cli_reference() -> str:
    """Return the help of each command as a page."""
    from typer.main import get_command

    from t1_vectorstore.cli import app

    pages = ["# Command line", _help([]), *_commands([], get_command(app))]
    return "\n\n".join(pages) + "\n"


def _commands(path: list[str], group: Any) -> Iterator[str]:  # noqa: ANN401 - a command group
    for name, command in group.commands.items():
        words = [*path, name]
        yield f"## t1 {' '.join(words)}"
        yield _help(words)
        if hasattr(command, "commands"):
            yield from _commands(words, command)


def _help(words: list[str]) -> str:
    from typer.testing import CliRunner

    from t1_vectorstore.cli import app

    done = CliRunner().invoke(app, [*words, "--help"], prog_name="t1", env={"COLUMNS": "96"})
    return f"```text\n{done.stdout.strip()}\n```"
