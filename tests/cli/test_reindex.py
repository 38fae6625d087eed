"""``t1 reindex``: there and back, and killed at any write on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from t1_vectorstore.collection import Collection

ROOT = Path(__file__).parents[2]


def test_there_and_back(run: Any, corpus: Any) -> None:
    name = corpus(*({"id": f"{n}", "text": f"text {n}"} for n in range(5)))
    run("index", name, "--to", "idx")
    assert "5 chunks, vectors kept" in run("reindex", "idx", "--hybrid").stdout
    run("verify", name, "--index", "idx", "--vectors", "5")
    assert "nothing was done" in run("reindex", "idx", "--hybrid").stdout
    assert "again of fake: 5 chunks" in run("reindex", "idx", "--rollback").stdout
    with Collection.open("idx", create=False) as back:
        assert not back.hybrid
    assert "confirm it with --yes" in run("reindex", "idx", "--drop-old", code=2).stderr
    assert "deleted: builds/" in run("reindex", "idx", "--drop-old", "--yes").stdout
    assert "nothing was there" in run("reindex", "idx", "--drop-old", "--yes").stdout
    assert "no previous build" in run("reindex", "idx", "--rollback", code=1).stderr
    assert json.loads(run("reindex", "idx", "--hybrid", "--json").stdout)["chunks"] == 5


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "say what is to change"),
        (["--rollback", "--drop-old"], "only one of these"),
        (["--hybrid", "--rollback"], "only one of these"),
        (["--hybrid", "--alias", "docs"], "only a server has aliases"),
    ],
)
def test_wrong_use_changes_nothing(run: Any, corpus: Any, options: list[str], says: str) -> None:
    run("index", corpus({"id": "a", "text": "one"}), "--to", "idx")
    assert says in run("reindex", "idx", *options, code=2).stderr
    assert sorted(path.name for path in Path("idx").iterdir()) == ["lock", "shard", "t1.json"]


@pytest.mark.parametrize("writes", [1, 3])
def test_killed_at_any_write_the_old_answers_and_a_rerun_completes(
    run: Any, folder: Path, corpus: Any, writes: int
) -> None:
    name = corpus(*({"id": f"{n}", "text": f"text {n}"} for n in range(600)))
    run("index", name, "--to", "idx")
    command = [sys.executable, "-m", "tests.cli.fake_t1", "SIGKILL", str(writes), "reindex", "idx", "--hybrid"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    killed = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    run("verify", name, "--index", "idx")
    with Collection.open("idx", create=False) as still:
        assert not still.hybrid
    run("reindex", "idx", "--hybrid")
    run("verify", name, "--index", "idx", "--vectors", "20")
    with Collection.open("idx", create=False) as moved:
        assert moved.hybrid
