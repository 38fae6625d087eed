"""The help of all commands."""

from __future__ import annotations

import runpy

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from t1_vectorstore import __version__
from t1_vectorstore.cli import app

GROUP = get_command(app)
GROUPS = ("data", "export")
COMMANDS = [(name,) for name in GROUP.commands]  # type: ignore[attr-defined]
COMMANDS += [(group, name) for group in GROUPS for name in GROUP.commands[group].commands]  # type: ignore[attr-defined]


def help_of(*command: str) -> str:
    result = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "80"})
    assert result.exit_code == 0, result.output
    return result.output


def first_line(command: tuple[str, ...]) -> str:
    """The first paragraph of a command's help."""
    text = help_of(*command)
    assert text.startswith(f"Usage: root {' '.join(command)} ")
    return text.split("\n\n")[1].strip()


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_first_line_is_short_and_whole_in_the_list_of_commands(command: tuple[str, ...]) -> None:
    description = first_line(command)
    assert len(description) <= 50
    assert description.endswith(".")
    [listed] = [line for line in help_of(*command[:-1]).splitlines() if line.strip().startswith(f"{command[-1]} ")]
    assert listed.strip().removeprefix(command[-1]).strip() == description
    assert len(listed) <= 80


def test_commands_and_options_are_listed_in_sections() -> None:
    sections = [line for line in help_of().splitlines() if line and not line.startswith(" ")]
    assert sections[1:] == ["Options:", "Index and search:", "Serving:", "Maintenance:", "Evaluation:", "Training:"]
    sections = [line for line in help_of("search").splitlines() if line and not line.startswith(" ")]
    assert sections[1:] == ["Arguments:", "Search:", "Thinking:", "Storage:", "Model:", "Output:", "Options:"]


def test_help_is_plain_text_that_shows_brackets() -> None:
    text = help_of("search")
    assert "[default: 5; x>=1]" in text
    assert "\x1b" not in text
    assert "│" not in text


def test_version() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout == f"t1-vectorstore {__version__}\n"


def test_the_package_can_be_run_as_a_module(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["t1", "--version"])
    with pytest.raises(SystemExit) as end:
        runpy.run_module("t1_vectorstore", run_name="__main__")
    assert end.value.code == 0
    assert capsys.readouterr().out == f"t1-vectorstore {__version__}\n"
