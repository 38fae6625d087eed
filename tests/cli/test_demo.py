"""``t1 demo`` with any model, and what it prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def test_demo_answers_with_and_without_thinking(run: Any, folder: Path) -> None:
    shown = run("demo", "--queries", "1").stdout
    for promised in ("documents about countries", "2 facts", "4 facts", "thinking, ", "without, ", "came first"):
        assert promised in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert list(folder.iterdir()) == []


def test_demo_keeps_its_index_on_request(run: Any) -> None:
    shown = run("demo", "--queries", "1", "--to", "kept").stdout
    assert "t1 search kept" in shown
    assert "andes" not in run("info", "kept").stdout
    again = run("demo", "--queries", "1", "--to", "kept").stdout
    assert "embedded by fake (already indexed)." in again
    assert "tokens/s" not in again


def test_demo_without_a_query_is_refused_before_indexing(run: Any, folder: Path) -> None:
    assert "--queries" in run("demo", "--queries", "0", "--to", "kept", code=2).stderr
    assert list(folder.iterdir()) == []
