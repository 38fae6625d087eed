"""``t1 cache``, and the cache of ``t1 search``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from t1_vectorstore.cli import app


def t1(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == code, result.output
    return result.stdout


def test_repeated_searches_are_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("corpus.jsonl").write_text('{"id": "norway", "text": "Leading exports of Norway: oil."}\n')
    t1("index", "corpus.jsonl", "--to", "idx")
    assert json.loads(t1("cache", "info", "--json")) | {"file": ""} == {
        **dict.fromkeys(("entries", "bytes", "hits", "misses"), 0),
        "file": "",
    }
    query = ("search", "idx", "what does Norway sell")
    assert "cached" not in t1(*query)
    assert "(cached)" in t1(*query)
    assert json.loads(t1(*query, "--json"))["cached"]
    assert "cached" not in t1(*query, "--no-cache")
    with monkeypatch.context() as patch:
        patch.setenv("T1_CACHE", "0")
        assert "cached" not in t1(*query)
    assert "2 of 3 lookups found an entry (67%)" in t1("cache", "info")
    assert "entries deleted" in t1("cache", "clear")
    assert "(cached)" not in t1(*query)


def test_the_folder_is_that_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from t1_vectorstore.cli.cache import cache_folder

    monkeypatch.delenv("T1_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "t1-vectorstore"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "t1-vectorstore"


def test_clearing_without_a_cache(run: Any) -> None:
    assert "0 entries deleted" in t1("cache", "clear")
