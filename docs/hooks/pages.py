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
    """Return the help of each command as Markdown."""
    from typer.main import get_command

    from t1_vectorstore.cli import app

    root: Any = get_command(app)
    pages = ["# Command line", root.help or "", *_commands("t1", root)]
    return "\n\n".join(pages) + "\n"


def _commands(path: str, group: Any) -> Iterator[str]:  # noqa: ANN401 - a click group
    for name, command in group.commands.items():
        full = f"{path} {name}"
        yield f"## `{full}`"
        yield _plain(command.help or "")
        if hasattr(command, "commands"):
            yield from _commands(full, command)
            continue
        arguments = [param for param in command.params if param.param_type_name == "argument"]
        usage = " ".join([full, "[OPTIONS]", *(param.make_metavar(_Context(command)) for param in arguments)])
        yield f"```text\n{usage}\n```"
        yield from _table("Argument", [(param.make_metavar(_Context(command)), param.help) for param in arguments])
        panels: dict[str, list[tuple[str, str | None]]] = {}
        for param in command.params:
            if param.param_type_name == "option" and not param.hidden:
                panel = getattr(param, "rich_help_panel", None) or "Options"
                panels.setdefault(panel, []).append((", ".join([*param.opts, *param.secondary_opts]), param.help))
        for panel, options in panels.items():
            yield from _table(panel, options)


class _Context:
    """What click needs to print a metavar."""

    def __init__(self, command: Any) -> None:  # noqa: ANN401 - a click command
        self.command = command


def _table(title: str, rows: list[tuple[str, str | None]]) -> Iterator[str]:
    if rows:
        lines = [f"| {title} | |", "|---|---|", *(f"| `{name}` | {_plain(text or '')} |" for name, text in rows)]
        yield "\n".join(lines)


def _plain(text: str) -> str:
    """Escape what Markdown would take for markup."""
    for mark in ("\\", "|", "<", "[", "*", "_"):
        text = text.replace(mark, f"\\{mark}")
    return text
