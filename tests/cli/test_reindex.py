"""``t1 reindex``: forward, back, and after a kill."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from t1_vectorstore.collection import Collection
from tests.cli.fake_t1 import run_process


def test_rebuild_roll_back_and_drop(run: Any, corpus: Any) -> None:
    name = corpus(*({"id": f"{n}", "text": f"text {n}"} for n in range(5)))
    run("index", name, "--to", "idx")
    assert "5 chunks, vectors kept" in run("reindex", "idx", "--hybrid").stdout
    run("verify", name, "--index", "idx", "--vectors", "5")
    assert "nothing was done" in run("reindex", "idx", "--hybrid").stdout
    assert "uses model fake again: 5 chunks" in run("reindex", "idx", "--rollback").stdout
    with Collection.open("idx", create=False) as back:
        assert not back.hybrid
    assert (
        "Delete the previous build, and unfinished builds? Confirm it with --yes"
        in run("reindex", "idx", "--drop-old", code=2).stderr
    )
    assert "deleted: builds/" in run("reindex", "idx", "--drop-old", "--yes").stdout
    assert "nothing to delete" in run("reindex", "idx", "--drop-old", "--yes").stdout
    assert "no previous build" in run("reindex", "idx", "--rollback", code=1).stderr
    assert json.loads(run("reindex", "idx", "--hybrid", "--json").stdout)["chunks"] == 5
    back = json.loads(run("reindex", "idx", "--rollback", "--json").stdout)
    assert (back["name"], back["chunks"]) == ("t1", 5)
    assert len(json.loads(run("reindex", "idx", "--drop-old", "--yes", "--json").stdout)["deleted"]) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give what to change"),
        (["--rollback", "--drop-old"], "only one of these"),
        (["--hybrid", "--rollback"], "only one of these"),
        (["--hybrid", "--alias", "docs"], "only a server has aliases"),
        (["--rollback", "--alias", "docs"], "leave --alias out"),
    ],
)
def test_mistakes_change_nothing(run: Any, corpus: Any, options: list[str], message: str) -> None:
    run("index", corpus({"id": "a", "text": "one"}), "--to", "idx")
    assert message in run("reindex", "idx", *options, code=2).stderr
    assert sorted(path.name for path in Path("idx").iterdir()) == ["changes", "lock", "shard", "t1.json"]


@pytest.mark.process  # kill -9 cannot be simulated in this process: nothing may be cleaned up
@pytest.mark.parametrize("writes", [1, 3])
def test_after_a_kill_the_old_build_answers_and_a_rerun_completes(run: Any, corpus: Any, writes: int) -> None:
    name = corpus(*({"id": f"{n}", "text": f"text {n}"} for n in range(600)))
    run("index", name, "--to", "idx")
    killed = run_process("SIGKILL", writes, "reindex", "idx", "--hybrid")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    run("verify", name, "--index", "idx")
    with Collection.open("idx", create=False) as still:
        assert not still.hybrid
    run("reindex", "idx", "--hybrid")
    run("verify", name, "--index", "idx", "--vectors", "20")
    with Collection.open("idx", create=False) as moved:
        assert moved.hybrid
