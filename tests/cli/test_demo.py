"""``t1 demo`` runs through with any model, and shows what it promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def test_the_demo_answers_with_and_without_thinking(run: Any, folder: Path) -> None:
    shown = run("demo", "--queries", "1").stdout
    for promised in ("documents about countries", "2 facts", "4 facts", "thinking, ", "without, ", "came first"):
        assert promised in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert list(folder.iterdir()) == []


def test_the_demos_index_can_be_kept(run: Any) -> None:
    shown = run("demo", "--queries", "1", "--to", "kept").stdout
    assert "t1 search kept" in shown
    assert "andes" not in run("info", "kept").stdout
