"""``t1 train``, ``t1 data`` and ``t1 add-token``."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from t1_vectorstore.cli import app
from t1_vectorstore.training.examples import Example, write_data
from tests.checkpoints import save_checkpoint


def t1(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_own_documents_are_not_overwritten(tmp_path: Path) -> None:
    source = tmp_path / "corpus.jsonl"
    source.write_text('{"_id": "a", "title": "A", "text": "one"}\n{"_id": "b", "title": "B", "text": "two"}\n')
    before = source.read_bytes()
    result = t1("data", "own", source, tmp_path, "--endpoint", "http://127.0.0.1:9/v1", "--chat-model", "none")
    assert result.exit_code != 0
    assert "contains the documents" in " ".join(result.stderr.split())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"corpus.jsonl": before}


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            ("train", "nothing", "--data", "d", "--out", "o"),
            "no recipe 'nothing': pass the path of a YAML file, or a bundled recipe: lora-4b",
        ),
        (("add-token", "./nowhere", "o"), "cannot be loaded as a causal language model"),
        (("data", "join", "o", "nowhere"), "expected NAME=FOLDER, got 'nowhere'"),
        (("data", "join", "o", "a=x", "a=y"), "two sources have the same name: a=x, a=y"),
    ],
)
def test_errors_name_the_problem(
    command: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("yaml")
    monkeypatch.chdir(tmp_path)
    result = t1(*command)
    assert result.exit_code != 0
    error = " ".join(result.stderr.split())
    assert message in error
    assert "Error:" not in error
    assert not (tmp_path / "o").exists()


def test_training_without_its_packages_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("yaml")
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "t1_vectorstore.training.run.find_spec", lambda name: None if name == "accelerate" else find(name)
    )
    result = t1("train", "lora-4b", "--data", tmp_path, "--out", tmp_path / "run")
    assert result.exit_code == 1
    assert "accelerate" in result.stderr
    assert "pip install 't1-vectorstore[train]'" in result.stderr


def test_token_is_added(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path / "plain")
    result = t1("add-token", folder, tmp_path / "out", "--token", "<vector>")
    assert result.exit_code == 0, result.output
    assert "<vector>" in result.stdout


def test_thoughts_of_a_model_are_added_to_data(tmp_path: Path, tiny: Path) -> None:
    write_data(tmp_path / "data", {"a": "Llamas"}, {"train": [Example("where", "there", ("a",))]})
    arguments = ("data", "think", tmp_path / "data", tmp_path / "out", "--model", tiny)
    result = t1(*arguments, "--temperature", "1")
    assert result.exit_code == 0, result.output
    assert "thoughts generated" in result.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "out"]
    result = t1(*arguments)
    assert result.exit_code == 2
    assert "is not an empty folder" in result.stderr
    result = t1("data", "think", tmp_path / "data", tmp_path / "new", "--model", tiny, "--samples", "2")
    assert result.exit_code == 2
    assert "greedy" in result.stderr
