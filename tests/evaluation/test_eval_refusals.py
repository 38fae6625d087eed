"""Errors of ``t1 eval`` before the evaluation, and files that cannot be written after it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from t1_vectorstore.cli import app
from tests.evaluation import small_benchmark


def t1(*arguments: str | Path, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    return small_benchmark.write(tmp_path / "questions", documents=20)


def points(index: Path) -> int:
    count = json.loads(t1("info", index, "--json").stdout)["points"]
    assert isinstance(count, int)
    return count


def test_index_with_other_documents_is_refused_unchanged(questions: Path, tmp_path: Path) -> None:
    others = [{"id": f"other-{number}", "text": f"about {number}"} for number in range(5)]
    (tmp_path / "others.jsonl").write_text("".join(json.dumps(line) + "\n" for line in others))
    t1("index", tmp_path / "others.jsonl", "--to", tmp_path / "index")
    result = t1("eval", questions, "--systems", "no-thinking", "--index", tmp_path / "index", code=2)
    assert "holds 5 points, 5 of which are not documents of questions/test, such as 'other-" in result.stderr
    assert "Give another --index" in result.stderr
    assert result.stdout == ""
    assert points(tmp_path / "index") == 5


def test_index_with_a_removed_document_is_refused(questions: Path, tmp_path: Path) -> None:
    command = ("eval", questions, "--systems", "no-thinking", "--queries", "2", "--index", tmp_path / "index")
    t1(*command)
    *lines, last = (questions / "corpus.jsonl").read_text().splitlines(keepends=True)
    (questions / "corpus.jsonl").write_text("".join(lines))
    message = f"holds 20 points, 1 of which are not documents of questions/test, such as {json.loads(last)['_id']!r}"
    assert message in t1(*command, code=2).stderr


@pytest.mark.thorough
def test_index_of_the_same_documents_in_chunks_is_updated(questions: Path, tmp_path: Path) -> None:
    t1("index", questions / "corpus.jsonl", "--to", tmp_path / "index", "--chunk-size", "12", "--overlap", "0")
    assert points(tmp_path / "index") > 20
    t1("eval", questions, "--systems", "no-thinking", "--queries", "2", "--index", tmp_path / "index")
    assert points(tmp_path / "index") == 20


def test_ids_that_no_run_file_can_hold_are_refused(questions: Path, tmp_path: Path) -> None:
    with (questions / "corpus.jsonl").open("a") as corpus:
        corpus.write('{"_id": "louping ill/cause", "text": "a virus"}\n')
    result = t1("eval", questions, "--systems", "bm25", "--runs", tmp_path / "runs", code=2)
    assert "'louping ill/cause' contains white space, which no TREC run file can hold" in result.stderr
    assert not (tmp_path / "runs").exists()
    assert "| bm25 |" in t1("eval", questions, "--systems", "bm25").stdout


@pytest.mark.thorough
def test_report_replaces_no_file_but_an_earlier_report(questions: Path, tmp_path: Path) -> None:
    command = ("eval", questions, "--systems", "bm25", "--report")
    corpus = (questions / "corpus.jsonl").read_bytes()
    assert "is not an earlier report" in t1(*command, questions / "corpus.jsonl", code=2).stderr
    assert (questions / "corpus.jsonl").read_bytes() == corpus
    for _ in range(2):
        t1(*command, tmp_path / "report.html")


@pytest.mark.parametrize("option", ["--report", "--runs"])
def test_path_that_cannot_be_written_is_refused(questions: Path, tmp_path: Path, option: str) -> None:
    (tmp_path / "file").write_text("")
    result = t1("eval", questions, "--systems", "bm25", option, tmp_path / "file" / "here" / "it", code=2)
    assert f"{option}: the folder {tmp_path / 'file' / 'here'}" in result.stderr
    assert result.stdout == ""
    assert (
        "cannot be written: it is a folder"
        in t1("eval", questions, "--systems", "bm25", "--report", tmp_path, code=2).stderr
    )


def test_folders_of_output_files_are_created(questions: Path, tmp_path: Path) -> None:
    t1("eval", questions, "--systems", "bm25", "--report", tmp_path / "no" / "such" / "r.html")
    assert (tmp_path / "no" / "such" / "r.html").is_file()


def test_figures_are_printed_even_if_a_file_cannot_be_written(
    questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("t1_vectorstore.evaluation.runs.write_trec", full)
    result = t1("eval", questions, "--systems", "bm25", "--runs", tmp_path / "runs", code=1)
    assert "| bm25 |" in result.stdout
    assert "No space left" in result.stderr


@pytest.mark.parametrize("model", ["./nope", "/no/such/folder", "models/of/mine"])
def test_missing_folder_of_a_baseline_is_refused(model: str) -> None:
    result = t1("eval", "anywhere", "--systems", f"bm25,st:{model}", code=2)
    assert f"there is no folder '{model}' to rank by: st:MODEL takes a folder, or a model of the hub" in result.stderr


def test_baseline_that_cannot_be_loaded_is_an_error(
    questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (tmp_path / "empty").mkdir()
    for model in (tmp_path / "empty", "no-such-owner/x"):
        result = t1("eval", questions, "--systems", f"st:{model}", code=1)
        assert f"error: cannot load '{model}' by sentence-transformers, which takes a folder" in result.stderr
