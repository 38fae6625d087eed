"""``t1 verify``: its verdict, its exit code, and the differences that it prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.errors import BackendError


def test_index_equals_its_source(run: Any, corpus: Any) -> None:
    name = corpus({"id": "a", "text": "one"}, {"id": "b", "text": "two"})
    run("index", name, "--to", "idx")
    assert (
        "equal: 2 documents in 2 chunks in the source; 2 chunks in idx" in run("verify", name, "--index", "idx").stdout
    )
    found = json.loads(run("verify", name, "--index", "idx", "--vectors", "9", "--json").stdout)
    assert found["equal"] is True
    assert found["vectors"] == 2
    assert found["differences"] == {}


def test_differences_are_printed_with_exit_code_1(run: Any, corpus: Any, folder: Path) -> None:
    name = corpus({"id": "a", "text": "one"}, {"id": "b", "text": "two"})
    run("index", name, "--to", "idx")
    other = corpus({"id": "a", "text": "uno"}, {"id": "c", "text": "three"}, name="other.jsonl")
    result = run("verify", other, "--index", "idx", code=1)
    assert "3 differences" in result.stdout
    for line in ("1 changed", "- a: other text", "1 missing", "- c: not stored", "1 extra", "- b: the source has no"):
        assert line in result.stderr
    differences = json.loads(run("verify", other, "--index", "idx", "--json", code=1).stdout)["differences"]
    assert {kind: [first["id"] for first in some["first"]] for kind, some in differences.items()} == {
        "changed": ["a"],
        "missing": ["c"],
        "extra": ["b"],
    }
    run("index", other, "--to", "idx")
    run("verify", other, "--index", "idx", code=1)
    assert "1 of them from other documents" in run("verify", other, "--index", "idx", "--allow-extra").stdout


def test_unreadable_source_is_no_success(run: Any, folder: Path) -> None:
    (folder / "bad.jsonl").write_text('{"id": "a", "text": "one"}\nnot JSON\n')
    run("index", "bad.jsonl", "--to", "idx", code=1)
    result = run("verify", "bad.jsonl", "--index", "idx", code=1)
    assert "equal, as far as the source could be read" in result.stdout
    assert "1 unreadable" in result.stderr


def test_only_comparing_vectors_loads_the_model(run: Any, corpus: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    name = corpus({"id": "a", "text": "one"})
    run("index", name, "--to", "idx")

    def refuse(*_: object, **__: object) -> None:
        raise BackendError("the weights are being loaded")

    monkeypatch.setattr(T1Embedder, "from_options", refuse)
    run("verify", name, "--index", "idx")
    assert "weights" in run("verify", name, "--index", "idx", "--vectors", "1", code=1).stderr


def test_chunk_size_is_that_of_the_latest_load(run: Any, folder: Path) -> None:
    (folder / "long.txt").write_text("\n\n".join(f"Paragraph {n}." for n in range(40)))
    run("index", "long.txt", "--to", "idx", "--chunk-size", "100", "--overlap", "20")
    run("verify", "long.txt", "--index", "idx")
    assert " 0 stored" in run("index", "long.txt", "--to", "idx").stdout
    assert "finished; began 2" in run("info", "idx").stdout
    assert "chunks of 100 characters, overlapping by 20" in run("info", "idx").stdout
    run("index", "long.txt", "--to", "idx", "--chunk-size", "90")
    assert "1 chunk " not in run("verify", "long.txt", "--index", "idx").stdout


def test_other_chunk_size_is_suggested_as_the_cause(run: Any, folder: Path) -> None:
    (folder / "long.txt").write_text("\n\n".join(f"Paragraph {n}." for n in range(40)))
    run("index", "long.txt", "--to", "idx", "--chunk-size", "100")
    assert "--chunk-size" in run("verify", "long.txt", "--index", "idx", "--chunk-size", "60", code=1).stderr
    run("verify", "long.txt", "--index", "idx", "--chunk-size", "100")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nothing.jsonl", "--index", "idx"], 1, "no such file"),
        (["corpus.jsonl", "--index", "nowhere"], 1, "there is no index"),
        (["corpus.jsonl", "--index", "idx", "--chunk-size", "0"], 2, "at least 1"),
    ],
)
def test_errors_name_the_problem(run: Any, corpus: Any, arguments: list[str], code: int, message: str) -> None:
    run("index", corpus({"id": "a", "text": "one"}), "--to", "idx")
    assert message in run("verify", *arguments, code=code).stderr
