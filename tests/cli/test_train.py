"""``t1 train``, ``t1 data`` and ``t1 add-token`` as a user meets them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from t1_vectorstore.cli import app
from tests.checkpoints import save_checkpoint
from tests.recipes import small_factbook


def t1(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_data_tells_what_it_wrote(tmp_path: Path) -> None:
    source = small_factbook.write(tmp_path / "countries.jsonl.gz")
    result = t1(
        "data",
        "factbook",
        source,
        tmp_path / "out",
        "--wording",
        "plain",
        "--examples",
        60,
        "--long",
        4,
        "--queries",
        4,
    )
    assert result.exit_code == 0, result.output
    assert "210  corpus" in result.stdout
    assert (tmp_path / "out" / "qrels.ood4.tsv").is_file()


def test_data_is_not_written_among_other_data(tmp_path: Path) -> None:
    (tmp_path / "ood3.jsonl").write_text("{}")
    result = t1("data", "factbook", tmp_path / "nowhere", tmp_path)
    assert result.exit_code != 0
    assert "is not an empty folder" in " ".join(result.stderr.split())


def test_own_documents_are_not_written_over(tmp_path: Path) -> None:
    source = tmp_path / "corpus.jsonl"
    source.write_text('{"_id": "a", "title": "A", "text": "one"}\n{"_id": "b", "title": "B", "text": "two"}\n')
    before = source.read_bytes()
    result = t1("data", "own", source, tmp_path, "--endpoint", "http://127.0.0.1:9/v1", "--chat-model", "none")
    assert result.exit_code != 0
    assert "holds the documents" in " ".join(result.stderr.split())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"corpus.jsonl": before}


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("train", "nothing", "--data", "d", "--out", "o"), "none of the package's own: "),
        (("data", "diseases", "nowhere", "o"), "HumanDO.tsv.gz is missing"),
        (("data", "wordnet", "nowhere", "o"), "synsets.jsonl.gz"),
        (("add-token", "./nowhere", "o"), "does not load"),
    ],
)
def test_what_is_missing_is_named(
    command: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("yaml")
    monkeypatch.chdir(tmp_path)
    result = t1(*command)
    assert result.exit_code != 0
    told = " ".join(result.stderr.split())
    assert said in told
    assert "Error:" not in told
    assert not (tmp_path / "o").exists()


def test_training_without_its_libraries_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("yaml")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "accelerate" else find(name))
    result = t1("train", "t1-mini", "--data", tmp_path, "--out", tmp_path / "run")
    assert result.exit_code == 1
    assert "accelerate" in result.stderr
    assert "pip install 't1-vectorstore[train]'" in result.stderr


def test_a_token_is_added(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path / "plain")
    result = t1("add-token", folder, tmp_path / "out", "--token", "<vector>")
    assert result.exit_code == 0, result.output
    assert "<vector>" in result.stdout
