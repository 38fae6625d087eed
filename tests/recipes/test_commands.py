"""``python -m recipes.t1_mini``: the commands that build the training data of t1-mini."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from recipes.t1_mini.__main__ import app
from tests.recipes import small_factbook


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_factbook_prints_what_it_wrote(tmp_path: Path) -> None:
    source = small_factbook.write(tmp_path / "countries.jsonl.gz")
    sizes = ("--examples", 60, "--long", 4, "--queries", 4)
    result = run("factbook", source, tmp_path / "out", "--wording", "plain", *sizes)
    assert result.exit_code == 0, result.output
    assert "210  corpus" in result.stdout
    assert (tmp_path / "out" / "qrels.ood4.tsv").is_file()


def test_data_is_only_written_to_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "ood3.jsonl").write_text("{}")
    result = run("factbook", tmp_path, tmp_path)
    assert result.exit_code != 0
    assert "is not an empty folder" in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("diseases", ".", "o"), "HumanDO.tsv.gz is missing"),
        (("entailmentbank", "nowhere", "o"), "'nowhere' does not exist"),
        (("wordnet", "nowhere.jsonl.gz", "o"), "'nowhere.jsonl.gz' does not exist"),
    ],
)
def test_missing_sources_are_named(
    command: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*command)
    assert result.exit_code != 0
    error = " ".join(result.stderr.split())
    assert message in error
    assert not (tmp_path / "o").exists()
