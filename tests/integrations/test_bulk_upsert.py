"""The example ``integrations/bulk_upsert.py``, unchanged."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from integrations.bulk_upsert import main
from t1_vectorstore import T1Embedder, T1VectorStore
from t1_vectorstore.errors import MissingExtraError

RECORDS = [{"id": f"d{i}", "text": f"Document number {i}.", "metadata": {"i": i}} for i in range(5)]


def parquet(path: Path, records: list[dict[str, Any]]) -> Path:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), path)
    return path


def jsonl(path: Path, records: list[Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.mark.parametrize("write", [parquet, jsonl])
def test_every_record_is_stored_once(write: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, index = str(write(tmp_path / f"a.{write.__name__}", RECORDS)), str(tmp_path / "index")
    assert main([source, "--to", index], embedder=T1Embedder.fake()) == 0
    assert (
        "5 chunks stored, 0 unchanged, 0 stale removed, 0 failures; the collection holds 5" in capsys.readouterr().out
    )
    assert main([source, "--to", index], embedder=T1Embedder.fake()) == 0
    assert "0 chunks stored, 5 unchanged" in capsys.readouterr().out
    with T1VectorStore.open(index, T1Embedder.fake()) as store:
        assert store.search("Document number 3.", filter={"i": 3}).hits[0].id == "d3"
        assert store.collection.latest_load is not None
        assert store.collection.latest_load.finished


def test_failures_are_reported_and_written_to_the_dead_letters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad: list[Any] = [{"id": "empty", "text": ""}, {"id": "none", "text": None}]
    source = str(parquet(tmp_path / "a.parquet", [*RECORDS, *bad]))
    dead = tmp_path / "dead.jsonl"
    arguments = [source, "--to", str(tmp_path / "index"), "--dead-letters", str(dead)]
    assert main(arguments, embedder=T1Embedder.fake()) == 1
    output = capsys.readouterr()
    assert "2 failures; the collection holds 5 chunks" in output.out
    assert "failed: empty: the text is empty" in output.err
    assert "None" not in output.err.replace("NoneType", "")
    written = [json.loads(line) for line in dead.read_text().splitlines()]
    assert {entry.get("id") for entry in written} == {None, "empty"}
    assert any("row 7" in entry["t1_failure"] for entry in written)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.jsonl", "--to", "index"], "no such file"),
        (["broken.parquet", "--to", "index"], "cannot be read as Parquet"),
        (["good.jsonl", "--to", "good.jsonl"], "is a file"),
        (["good.jsonl", "--to", "index", "--model", "nowhere"], "no checkpoint 'nowhere'"),
    ],
)
def test_errors_are_reported_in_one_line(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken.parquet").write_text("not parquet")
    jsonl(Path("good.jsonl"), RECORDS)
    fake = None if "--model" in arguments else T1Embedder.fake()
    assert main(arguments, embedder=fake) == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert message in errors[0]


def test_a_missing_extra_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from t1_vectorstore.readers import read

    source = parquet(tmp_path / "a.parquet", RECORDS)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"t1-vectorstore\[parquet\]"):
        list(read(source))
