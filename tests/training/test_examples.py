"""Reading and writing training data, and the errors of malformed data."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from t1_vectorstore.errors import CorpusError
from t1_vectorstore.evaluation.beir import read_beir
from t1_vectorstore.training.examples import Example, read_data, write_data

DOCUMENTS = {"a": "Llamas live in the Andes.", "b": "Camels live in deserts."}
EXAMPLE = Example("where do llamas live", "mountains", ("a",), ("b",), "animals")


@pytest.fixture
def line(tmp_path: Path) -> Callable[[str], Path]:
    """Writes data whose second training line is the one passed."""

    def write(text: str) -> Path:
        write_data(tmp_path, DOCUMENTS, {"train": [EXAMPLE]})
        with (tmp_path / "train.jsonl").open("a", encoding="utf-8") as file:
            file.write(text + "\n")
        return tmp_path

    return write


def test_written_data_is_read_back_without_repeated_examples(tmp_path: Path) -> None:
    counts = write_data(tmp_path, DOCUMENTS, {"train": [EXAMPLE, EXAMPLE], "dev": [Example("desert", None, ("b",))]})
    assert counts == {"corpus": 2, "train": 1, "dev": 1}
    data = read_data(tmp_path)
    assert data.documents == DOCUMENTS
    assert data.examples == (EXAMPLE,)


def test_a_split_can_be_read_as_a_benchmark(tmp_path: Path) -> None:
    twice = [Example("dry", "sand", ("b",)), Example("dry", "heat", ("b", "a")), Example("high", None, ("a",))]
    write_data(tmp_path, DOCUMENTS, {"dev": twice})
    benchmark = read_beir(tmp_path, "dev")
    assert dict(benchmark.queries) == {"dev-0": "dry", "dev-1": "high"}
    assert benchmark.relevant == {"dev-0": {"b": 1, "a": 1}, "dev-1": {"a": 1}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Invalid JSON"),
        ("[]", "line: "),
        (json.dumps({"query": "q", "positives": ["a"]}), "thought: Field required"),
        (json.dumps({"query": "", "thought": None, "positives": ["a"]}), "query: "),
        (json.dumps({"query": " ", "thought": None, "positives": ["a"]}), "query: "),
        (json.dumps({"query": "q", "thought": None, "positives": []}), "positives: "),
        (json.dumps({"query": "q", "thought": None, "positives": ["a"], "extra": 1}), "extra: "),
        (json.dumps({"query": "q", "thought": None, "positives": ["z"]}), "no document 'z'"),
        (
            json.dumps({"query": "q", "thought": None, "positives": ["a"], "negatives": ["a"]}),
            "'a' is both a positive and a",
        ),
        (json.dumps({"query": EXAMPLE.query, "thought": EXAMPLE.thought, "positives": ["a"]}), "repeats line 1"),
    ],
)
def test_the_error_of_a_malformed_line_names_it(line: Callable[[str], Path], text: str, message: str) -> None:
    with pytest.raises(CorpusError, match=r"train\.jsonl:2: ") as caught:
        read_data(line(text))
    assert message in str(caught.value)
    assert " at line " not in str(caught.value)


def test_the_error_of_invalid_utf8_names_the_line(line: Callable[[str], Path]) -> None:
    folder = line("")
    with (folder / "train.jsonl").open("ab") as file:
        file.write(b'{"query": "\xff"}\n')
    with pytest.raises(CorpusError, match=r"train\.jsonl:3: not UTF-8"):
        read_data(folder)


def test_an_empty_split_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no examples for dev"):
        write_data(tmp_path / "new", DOCUMENTS, {"train": [EXAMPLE], "dev": []})
    assert not (tmp_path / "new").exists()


def test_missing_and_empty_splits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="nowhere is not a folder: create training data with t1 data"):
        read_data(tmp_path / "nowhere")
    write_data(tmp_path, DOCUMENTS, {})
    with pytest.raises(CorpusError, match=r"has no train\.jsonl"):
        read_data(tmp_path)
    (tmp_path / "train.jsonl").write_text("\n")
    with pytest.raises(CorpusError, match="the split is empty"):
        read_data(tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"_id": "a", "text": "again"}', "an earlier document has the same id 'a'"),
        ('{"_id": "new", "text": " "}', "the document has no text"),
        ('{"text": "text"}', "the document has no id"),
    ],
)
def test_the_error_of_a_malformed_document_names_its_line(tmp_path: Path, line: str, message: str) -> None:
    write_data(tmp_path, DOCUMENTS, {"train": [EXAMPLE]})
    with (tmp_path / "corpus.jsonl").open("a") as file:
        file.write(f"\n{line}\n")
    with pytest.raises(CorpusError, match=re.escape(f"corpus.jsonl:{len(DOCUMENTS) + 2}: {message}")):
        read_data(tmp_path)
