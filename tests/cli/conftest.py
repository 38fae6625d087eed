"""The ``t1`` command in this process, with an instant model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from t1_vectorstore.cli import app
from tests.cli.fake_t1 import use_fake_model

Run = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of the command."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run ``t1`` with the fake model; an exit code other than the expected one fails the test."""
    use_fake_model(monkeypatch.setattr)

    def invoke(*arguments: str, code: int = 0, stdin: str | None = None) -> Result:
        result = CliRunner().invoke(app, arguments, input=stdin)
        assert result.exit_code == code, result.output
        return result

    return invoke


@pytest.fixture
def corpus(folder: Path) -> Callable[..., str]:
    """Write records as JSON Lines, and return the file's name."""

    def write(*records: Any, name: str = "corpus.jsonl") -> str:
        (folder / name).write_text("".join(json.dumps(record) + "\n" for record in records))
        return name

    return write
