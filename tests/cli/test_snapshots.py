"""``t1 snapshot`` and ``t1 restore``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


def test_save_and_restore(run: Any, corpus: Any) -> None:
    name = corpus({"id": "a", "text": "one"}, {"id": "b", "text": "two"})
    run("index", name, "--to", "idx")
    assert "2 chunks of idx saved\nsaved.tar.gz (" in run("snapshot", "idx", "saved.tar.gz").stdout
    assert "saved.tar.gz exists" in run("snapshot", "idx", "saved.tar.gz", code=2).stderr
    assert json.loads(run("snapshot", "idx", "saved.tar.gz", "--overwrite", "--json").stdout)["points"] == 2
    restored = run("restore", "saved.tar.gz", "back").stdout
    assert "2 chunks restored, all points equal the saved ones\nback" in restored
    run("verify", name, "--index", "back", "--vectors", "2")
    assert "not empty" in run("restore", "saved.tar.gz", "back", code=2).stderr
    run("delete", "back", "--id", "a")
    assert json.loads(run("restore", "saved.tar.gz", "back", "--overwrite", "--json").stdout)["points"] == 2
    run("verify", name, "--index", "back")
    assert "1 chunk" in run("reindex", "back", "--rollback").stdout


def test_errors_name_the_problem(run: Any, folder: Path) -> None:
    assert "there is no index" in run("snapshot", "nowhere", "file.tar.gz", code=1).stderr
    assert "there is no file" in run("restore", "none.tar.gz", "back", code=1).stderr
    (folder / "text").write_text("text")
    assert "text is not a snapshot" in run("restore", "text", "back", code=1).stderr
    assert not (folder / "back").exists()
    assert not (folder / "nowhere").exists()


def test_failed_restore_leaves_nothing(run: Any, folder: Path, corpus: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run("index", corpus({"id": "a", "text": "one"}), "--to", "idx")
    run("snapshot", "idx", "idx.t1")
    monkeypatch.setattr("t1_vectorstore.maintenance.archive.unpack", lambda *_, **__: 1 / 0)
    run("restore", "idx.t1", "restored", code=1)
    assert not (folder / "restored").exists()
