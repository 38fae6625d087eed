"""``t1 index``: storing, reporting, and continuing after an interruption."""

from __future__ import annotations

import json
import os
import signal
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from t1_vectorstore.collection import Collection
from t1_vectorstore.engines.embedded.locks import lock
from t1_vectorstore.errors import StoreUnavailable
from tests.cli.fake_t1 import run_process


def held(location: str) -> dict[str, str]:
    with Collection.open(location, create=False) as collection:
        return {chunk.id: chunk.text for chunk in collection.scroll()}


def test_folders_and_records_are_indexed(run: Any, folder: Path, corpus: Any) -> None:
    (folder / "docs").mkdir()
    (folder / "docs" / "llama.md").write_text("Llamas live in the Andes.")
    result = run("index", "docs", corpus({"id": "a", "text": "one", "metadata": {"k": 1}}), "--to", "idx")
    assert "2 documents, all stored; 2 chunks: 2 stored, 0 unchanged" in result.stdout
    assert held("idx") == {"llama.md": "Llamas live in the Andes.", "a": "one"}
    assert "2 chunks: 0 stored, 2 unchanged" in run("index", "docs", "corpus.jsonl", "--to", "idx").stdout


def test_fields_and_chunk_size_can_be_chosen(run: Any, corpus: Any) -> None:
    corpus({"key": "x", "body": "one two three four five six"})
    run("index", "corpus.jsonl", "--to", "idx", "--text-field", "body", "--id-field", "key", "--chunk-size", "13")
    assert held("idx") == {"x#chunk-0": "one two three", "x#chunk-1": "four five six"}


BAD_RECORDS = [
    {"id": "empty", "text": ""},
    {"id": "space", "text": " \n "},
    {"id": "surrogate", "text": "\ud800"},
    {"id": "twice", "text": "second"},
    {"id": "large number", "text": "t", "metadata": {"n": 10**30}},
]
GOOD_RECORDS = [
    {"id": "nul", "text": "a\x00b"},
    {"id": "emoji", "text": "👩‍👩‍👧‍👦 🇨🇿"},
    {"id": "languages", "text": "नमस्ते مرحبا こんにちは 你好 Привет γειά"},
    {"id": "x" * 10_000, "text": "an id of ten thousand letters"},
    {"id": "special", "text": "<emb_token> <|im_end|>"},
    {"text": "no id"},
]


def test_failed_documents_are_named_and_the_others_are_stored(run: Any, corpus: Any) -> None:
    corpus({"id": "twice", "text": "first"}, *GOOD_RECORDS, *BAD_RECORDS)
    with Path("corpus.jsonl").open("a") as file:
        file.write("not json\n")
    result = run("index", "corpus.jsonl", "--to", "idx", code=1)
    for record in BAD_RECORDS:
        assert f"- {record['id']}: " in result.stderr
    assert "corpus.jsonl:13: not JSON" in result.stderr
    assert set(held("idx").values()) == {"first", *(record["text"] for record in GOOD_RECORDS)}
    corpus(BAD_RECORDS[0])
    assert "1 document, none stored; " in run("index", "corpus.jsonl", "--to", "other", code=1).stdout


def test_report_as_json(run: Any, folder: Path, corpus: Any) -> None:
    (folder / "docs").mkdir()
    (folder / "docs" / "image.png").write_text("")
    corpus({"id": "a", "text": "one"}, {"id": "b", "text": ""})
    result = run("index", "docs", "corpus.jsonl", "--to", "idx", "--json", code=1)
    report = json.loads(result.stdout)
    assert (report["documents"], report["stored"], report["failures"][0]["id"]) == (2, 1, "b")
    assert "image.png" in report["skips"][0]
    assert (report["skipped"], report["held"], report["verified"]) == (1, 1, 1)
    assert result.stderr == ""


def test_long_file_is_indexed_in_chunks_within_the_models_limit(run: Any, folder: Path) -> None:
    (folder / "large.txt").write_text("word " * 20_000)
    result = run("index", "large.txt", "--to", "idx", "--json")
    report = json.loads(result.stdout)
    assert report["chunks"] == report["stored"] > 50
    assert report["truncated"] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["none.txt", "--to", "idx"], 1, "no such file"),
        (["a.odt", "--to", "idx"], 1, "no reader for '.odt'; known: .txt"),
        (["corpus.jsonl", "--to", "docs"], 1, "docs is not an index"),
        (["corpus.jsonl", "--to", ":memory:"], 2, "name a folder or a URL"),
        (["corpus.jsonl", "--to", "localhost:6333"], 2, "http://"),
        (["corpus.jsonl", "--to", "idx", "--chunk-size", "0"], 2, "chunk size must be at least 1"),
        (["corpus.jsonl", "--to", "idx", "--overlap", "900"], 2, "overlap must be between"),
        (["corpus.jsonl"], 2, "--to"),
    ],
)
def test_mistakes_are_refused_before_an_index_is_created(
    run: Any, folder: Path, corpus: Any, arguments: list[str], code: int, message: str
) -> None:
    corpus({"text": "x"})
    (folder / "a.odt").write_text("")
    (folder / "docs").mkdir()
    (folder / "docs" / "mine.txt").write_text("")
    result = run("index", *arguments, code=code)
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert not (folder / "idx").exists()


@pytest.mark.process  # kill -9 cannot be simulated in this process: nothing may be cleaned up
def test_the_same_command_completes_a_killed_load(run: Any, corpus: Any) -> None:
    records = [{"id": str(n), "text": f"text number {n}"} for n in range(700)]
    corpus(*records)
    killed = run_process("SIGKILL", 2, "index", "corpus.jsonl", "--to", "idx")
    assert killed.returncode == -signal.SIGKILL
    assert "latest load under way or interrupted (run it again to complete it)" in run("info", "idx").stdout
    report = json.loads(run("index", "corpus.jsonl", "--to", "idx", "--json").stdout)
    assert (report["unchanged"], report["stored"], report["failed"]) == (512, 188, 0)
    assert held("idx") == {record["id"]: record["text"] for record in records}


INTERRUPTED_LOAD = ("index", "corpus.jsonl", "--to", "idx", "--log", "log.jsonl")


@pytest.fixture
def long_corpus(corpus: Any) -> None:
    """More documents than a load has under way at a time."""
    corpus(*({"id": str(n), "text": f"text number {n}"} for n in range(3000)))


def check_interrupted(run: Any, stderr: str) -> None:
    """The load said how far it got, and the index is usable."""
    assert "interrupted: " in stderr
    assert "run the same command again to continue" in stderr
    assert "Traceback" not in stderr
    assert 256 <= len(held("idx")) < 3000
    assert json.loads(Path("log.jsonl").read_text().splitlines()[-1])["event"] == "error"
    assert run("search", "idx", "text number 3").stdout


@pytest.mark.process  # main() sets the handler of SIGTERM for the whole process
@pytest.mark.usefixtures("long_corpus")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_says_how_far_the_load_got(run: Any, name: str) -> None:
    interrupted = run_process(name, 1, *INTERRUPTED_LOAD)
    assert interrupted.returncode == 130
    check_interrupted(run, interrupted.stderr)


def test_failing_store_says_how_far_the_load_got(run: Any, corpus: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus(*({"id": str(n), "text": f"text number {n}"} for n in range(300)))
    write = Collection.write

    def fails_later(self: Collection, points: Any) -> int:
        if self.count():
            raise StoreUnavailable("the server is gone")
        return write(self, points)

    monkeypatch.setattr(Collection, "write", fails_later)
    failed = run("index", "corpus.jsonl", "--to", "idx", code=1)
    assert "256 chunks stored and searchable; run the same command again to continue" in failed.stderr
    assert failed.stderr.endswith("error: the server is gone\n")


def test_index_that_is_already_open_is_refused(run: Any, corpus: Any) -> None:
    run("index", corpus({"id": "a", "text": "x"}), "--to", "idx")
    with closing(lock(Path("idx/lock"))):  # as another process would hold it
        second = run("delete", "idx", "--all", "--yes", code=1)
    assert second.stderr.startswith("error: ")
    assert "open in" in second.stderr
    assert len(second.stderr.splitlines()) == 1


def test_pruning_leaves_exactly_the_sources(run: Any, folder: Path, corpus: Any) -> None:
    run("index", corpus({"id": "a", "text": "one"}, {"id": "b", "text": "two"}), "--to", "idx")
    corpus({"id": "b", "text": "two"}, {"id": "c", "text": "three"})
    assert held("idx").keys() == {"a", "b"}
    assert "1 pruned" in run("index", "corpus.jsonl", "--to", "idx", "--prune").stdout
    assert held("idx") == {"b": "two", "c": "three"}
    (folder / "corpus.jsonl").write_text('{"id": "c", "text": "three"}\nnot json\n')
    refused = run("index", "corpus.jsonl", "--to", "idx", "--prune", code=1)
    assert "not pruned: 1 items of the source could not be read" in refused.stderr
    (folder / "corpus.jsonl").write_text("")
    assert "no document" in run("index", "corpus.jsonl", "--to", "idx", "--prune", code=2).stderr
    assert held("idx").keys() == {"b", "c"}


def test_fixed_dead_letters_can_be_indexed(run: Any, folder: Path, corpus: Any) -> None:
    corpus({"id": "a", "text": " ", "metadata": {"k": 1}}, {"id": "b", "text": "two"})
    run("index", "corpus.jsonl", "--to", "idx", "--dead-letters", "dead.jsonl", code=1)
    (letter,) = (folder / "dead.jsonl").read_text().splitlines()
    assert json.loads(letter)["t1_failure"].startswith("the text is only white space")
    assert "white space" in run("index", "dead.jsonl", "--to", "idx", code=1).stderr
    (folder / "dead.jsonl").write_text(letter.replace('" "', '"one"'))
    run("index", "dead.jsonl", "--to", "idx")
    with Collection.open("idx", create=False) as collection:
        assert collection.get(["a"])["a"].metadata == {"k": 1}


def test_dead_letter_without_a_document_names_its_source(run: Any, folder: Path) -> None:
    (folder / "corpus.jsonl").write_text('{"id": "a", "text": "one"}\nnot json\n')
    run("index", "corpus.jsonl", "--to", "idx", "--dead-letters", "dead.jsonl", code=1)
    again = run("index", "dead.jsonl", "--to", "idx", code=1).stderr
    assert "dead.jsonl:1: a dead letter without a document; fix it in its source: corpus.jsonl:2: not" in again


def test_folder_without_readable_files_is_no_success(run: Any, folder: Path, corpus: Any) -> None:
    (folder / "docs").mkdir()
    corpus({"id": "a", "text": "one"}, name="docs/corpus.jsonl")
    errors = run("index", "docs", "--to", "idx", code=1).stderr
    assert "docs/corpus.jsonl: records in a folder are not read; give this file itself" in errors
    assert "the sources have no document" in errors
    assert not (folder / "idx").exists()
    (folder / "docs" / "corpus.jsonl").unlink()
    assert "the sources have no document" in run("index", "docs", "--to", "idx", "--prune", code=1).stderr
    assert not (folder / "idx").exists()
    assert "no document" in run("index", "-", "--to", "idx", stdin="").stderr  # no error: there are no new records
    corpus({"id": "a", "text": "one"}, name="docs/corpus.jsonl")
    assert "equal, as far as the source could be read" in run("verify", "docs", "--index", "idx", code=1).stdout


def test_index_inside_its_source_is_not_read(run: Any, folder: Path) -> None:
    (folder / "docs").mkdir()
    (folder / "docs" / "a.txt").write_text("one")
    for _ in range(2):
        report = json.loads(run("index", "docs", "--to", "docs/idx", "--json").stdout)
        assert (report["documents"], report["skipped"]) == (1, 0)


@pytest.mark.parametrize("option", ["--workers", "--worker-gpus"])
def test_options_of_workers_need_ray(run: Any, folder: Path, corpus: Any, option: str) -> None:
    refused = run("index", corpus({"id": "a", "text": "one"}), "--to", "idx", option, "1", code=2)
    assert "give --ray, or leave them out" in refused.stderr
    assert not (folder / "idx").exists()


def test_files_of_one_name_in_two_folders_say_what_to_do(run: Any, folder: Path) -> None:
    for name in ("one", "two"):
        (folder / name).mkdir()
        (folder / name / "a.txt").write_text(f"text of {name}")
    errors = run("index", "one", "two", "--to", "idx", code=1).stderr
    assert "rename a file, or index the folder that contains both" in errors


def test_log_has_progress_and_outcome(run: Any, folder: Path, corpus: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("t1_vectorstore.cli.progress.LOG_SECONDS", 0)
    run("index", corpus({"id": "a", "text": "one"}), "--to", "idx", "--log", "log.jsonl")
    with monkeypatch.context() as patch:
        patch.setattr(Collection, "write", lambda *_: 1 / 0)
        run("index", corpus({"id": "b", "text": "two"}), "--to", "idx", "--log", "log.jsonl", code=1)
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    events = [line["event"] for line in lines if line["event"] != "progress"]
    assert events == ["begin", "report", "begin", "error"]
    assert {line["stored"] for line in lines if line["event"] == "progress"} == {0, 1}
    assert "ZeroDivisionError" in lines[-1]["error"]


@pytest.mark.parametrize("option", ["--dead-letters", "--log"])
@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("corpus.jsonl", "is one of the sources"),
        ("docs/a.txt", "docs/a.txt is inside the source docs"),
        ("docs/new.jsonl", "docs/new.jsonl is inside the source docs"),
        ("notes.txt", "notes.txt would be"),
        ("list.json", "list.json would be"),
        ("no/file", "cannot be written"),
        (".", "a folder"),
        ("-", "is not standard output"),
    ],
)
def test_unusable_output_files_are_refused_unchanged(
    run: Any, folder: Path, corpus: Any, option: str, file: str, message: str
) -> None:
    corpus({"id": "a", "text": "one"})
    (folder / "docs").mkdir()
    files = {"docs/a.txt": "a text", "notes.txt": "my notes", "list.json": "1\n"}
    for name, text in files.items():
        (folder / name).write_text(text)
    assert message in run("index", "corpus.jsonl", "docs", "--to", "idx", option, file, code=2).stderr
    assert {name: (folder / name).read_text() for name in files} == files
    assert not (folder / "-").exists()
    assert not Path("idx").exists()


def test_dead_letters_of_an_earlier_load_are_replaced(run: Any, folder: Path, corpus: Any) -> None:
    command = ("index", "corpus.jsonl", "--to", "idx", "--dead-letters", "dead.jsonl")
    corpus({"id": "a", "text": " "})
    run(*command, code=1)
    corpus({"id": "b", "text": " "})
    run(*command, code=1)
    assert json.loads((folder / "dead.jsonl").read_text())["id"] == "b"
    corpus({"id": "b", "text": "two"})
    run(*command)
    run(*command)  # the file is empty now
    assert not (folder / "dead.jsonl").read_text()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_folder_without_write_permission_is_an_error(run: Any, folder: Path, corpus: Any) -> None:
    (folder / "closed").mkdir(mode=0o500)
    assert "ermission denied" in run("index", corpus({"text": "x"}), "--to", "closed/idx", code=1).stderr
