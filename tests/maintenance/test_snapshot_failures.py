"""A snapshot or a restore that ends in the middle leaves nothing half done."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from t1_vectorstore.collection import Collection
from t1_vectorstore.errors import CollectionNotFound, StoreError, StoreUnavailable
from t1_vectorstore.maintenance.snapshots import restore, snapshot
from t1_vectorstore.maintenance.tempdir import scratch
from tests.collection.conftest import admin, server_url  # noqa: F401 - fixtures
from tests.maintenance.snapshots import equal

KILLED = """
import os, signal, sys
from t1_vectorstore.cli import main
from t1_vectorstore.maintenance import archive
step, at = getattr(archive, sys.argv[1]), int(sys.argv[2])
def counted(*arguments, done=[]):
    done.append(1)
    if len(done) == at:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(*arguments)
setattr(archive, sys.argv[1], counted)
del sys.argv[1:3]
main()
"""


def killed(step: str, at: int, *arguments: str) -> None:
    """Run ``t1`` in a process that kills itself before it packs or unpacks its so-and-so-many-th file."""
    command = [sys.executable, "-c", KILLED, step, str(at), *arguments]
    assert subprocess.run(command, cwd=Path(__file__).parents[2], check=False).returncode == -signal.SIGKILL


@pytest.mark.parametrize("at", [9])
def test_killed_at_any_file_the_same_command_again_completes(saved: Path, tmp_path: Path, at: int) -> None:
    killed("_extract", at, "restore", str(saved), str(tmp_path / "back"))
    with pytest.raises(CollectionNotFound):
        Collection.open(tmp_path / "back")
    restore(saved, tmp_path / "back")
    killed("_extract", at, "restore", "--overwrite", str(saved), str(tmp_path / "back"))
    killed("_add", at, "snapshot", str(tmp_path / "back"), str(tmp_path / "file.tar.gz"))
    assert not (tmp_path / "file.tar.gz").exists()
    with Collection.open(tmp_path / "back") as back:
        assert equal(back)
        snapshot(back, tmp_path / "file.tar.gz")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back", "file.tar.gz"]


def test_a_disk_that_is_too_small_is_told_before_it_is_full(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(
        shutil, "disk_usage", lambda path: usage._replace(free=1000 if path.name == "shard.new" else usage.free)
    )
    with pytest.raises(StoreUnavailable, match="is too small: 0 MiB are left"):
        restore(saved, tmp_path / "back")
    assert [path.name for path in (tmp_path / "back").iterdir()] == ["lock"]
    monkeypatch.undo()
    restore(saved, tmp_path / "back")


def test_a_restore_that_fails_leaves_nothing_in_the_index_that_stays(index: Collection, tmp_path: Path) -> None:
    snapshot(index, tmp_path / "saved.tar.gz")
    index.close()
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes((tmp_path / "saved.tar.gz").read_bytes()[:-200])
    before = sorted((tmp_path / "index").rglob("*"))
    with pytest.raises(StoreError, match="cut off"):
        restore(cut, tmp_path / "index", overwrite=True)
    assert sorted(path for path in (tmp_path / "index").rglob("*") if path.name != "builds") == before


def test_scratch_folders_of_dead_processes_are_removed(tmp_path: Path) -> None:
    code = (
        "import os, sys, pathlib, t1_vectorstore.maintenance.tempdir as s; held = s.scratch(pathlib.Path(sys.argv[1]))"
    )
    command = [sys.executable, "-c", f"{code}; held.__enter__(); os._exit(1)", str(tmp_path)]
    subprocess.run(command, cwd=Path(__file__).parents[2], check=False)
    (left,) = tmp_path.iterdir()
    (tmp_path / "mine").mkdir()
    with scratch(tmp_path) as first, scratch(tmp_path) as second:
        assert not left.exists()
        assert first.exists()
        assert sorted(tmp_path.iterdir()) == sorted([first, second, tmp_path / "mine"])
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
