"""An interrupted snapshot or restore leaves nothing incomplete behind."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from t1_vectorstore.collection import Collection
from t1_vectorstore.engines.embedded.tempdir import temporary_folder
from t1_vectorstore.errors import CollectionNotFound, StoreError, StoreUnavailable
from t1_vectorstore.maintenance.snapshots import restore, snapshot
from tests.collection.conftest import admin, server_url  # noqa: F401 - fixtures
from tests.maintenance.snapshots import is_equal

KILLED = """
import os, signal, sys
from t1_vectorstore.cli import main
from t1_vectorstore.maintenance import archive
step, at = getattr(archive, sys.argv[1]), int(sys.argv[2])
def counted(*arguments, calls=[]):
    calls.append(1)
    if len(calls) == at:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(*arguments)
setattr(archive, sys.argv[1], counted)
del sys.argv[1:3]
main()
"""


def run_killed(step: str, at: int, *arguments: str) -> None:
    """Run ``t1`` in a process that kills itself before it packs or unpacks file number ``at``."""
    command = [sys.executable, "-c", KILLED, step, str(at), *arguments]
    assert subprocess.run(command, cwd=Path(__file__).parents[2], check=False).returncode == -signal.SIGKILL


@pytest.mark.process
@pytest.mark.parametrize("at", [9])
def test_a_killed_command_is_completed_by_running_it_again(saved: Path, tmp_path: Path, at: int) -> None:
    run_killed("_extract", at, "restore", str(saved), str(tmp_path / "back"))
    with pytest.raises(CollectionNotFound):
        Collection.open(tmp_path / "back")
    restore(saved, tmp_path / "back")
    run_killed("_extract", at, "restore", "--overwrite", str(saved), str(tmp_path / "back"))
    run_killed("_add", at, "snapshot", str(tmp_path / "back"), str(tmp_path / "file.tar.gz"))
    assert not (tmp_path / "file.tar.gz").exists()
    with Collection.open(tmp_path / "back") as back:
        assert is_equal(back)
        snapshot(back, tmp_path / "file.tar.gz")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back", "file.tar.gz"]


def test_a_disk_that_is_too_small_is_reported_before_it_is_full(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(
        shutil, "disk_usage", lambda path: usage._replace(free=1000 if path.name == "shard.new" else usage.free)
    )
    with pytest.raises(StoreUnavailable, match="is too small: 0 MiB are left"):
        restore(saved, tmp_path / "back")
    assert not (tmp_path / "back").exists()
    monkeypatch.undo()
    restore(saved, tmp_path / "back")


def test_a_failed_restore_leaves_the_existing_index_unchanged(index: Collection, tmp_path: Path) -> None:
    snapshot(index, tmp_path / "saved.tar.gz")
    index.close()
    incomplete = tmp_path / "incomplete.tar.gz"
    incomplete.write_bytes((tmp_path / "saved.tar.gz").read_bytes()[:-200])
    before = sorted((tmp_path / "index").rglob("*"))
    with pytest.raises(StoreError, match="incomplete"):
        restore(incomplete, tmp_path / "index", overwrite=True)
    assert sorted(path for path in (tmp_path / "index").rglob("*") if path.name != "builds") == before


@pytest.mark.process
def test_temporary_folders_of_dead_processes_are_removed(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, sys; from t1_vectorstore.engines.embedded.tempdir import temporary_folder; "
        "folder = temporary_folder(pathlib.Path(sys.argv[1])); folder.__enter__(); os._exit(1)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    subprocess.run(command, cwd=Path(__file__).parents[2], check=False)
    (left_over,) = tmp_path.iterdir()
    (tmp_path / "mine").mkdir()
    with temporary_folder(tmp_path) as first, temporary_folder(tmp_path) as second:
        assert not left_over.exists()
        assert first.exists()
        assert sorted(tmp_path.iterdir()) == sorted([first, second, tmp_path / "mine"])
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
