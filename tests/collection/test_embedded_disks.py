"""An index folder on a full disk, on a read-only one, or of another user."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from t1_vectorstore.collection import Collection
from t1_vectorstore.engines.embedded import folder as folders
from t1_vectorstore.errors import StoreUnavailable
from tests.collection.points import MODEL, points
from tests.collection.processes import output, python


def test_a_folder_that_is_not_writable_is_named(index: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="/proc/"):
        Collection.open("/proc/t1-index", identity=MODEL)
    if os.geteuid() != 0:
        index.chmod(0o500)
        (index / "lock").chmod(0o400)
        with pytest.raises(StoreUnavailable, match="Permission denied"):
            Collection.open(index)
        index.chmod(0o700)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can become another user")
def test_another_users_folder_is_named() -> None:
    path = Path("/tmp") / f"t1-index-{os.getpid()}"
    script = """
        from t1_vectorstore.engines.embedded.folder import IndexFolder
        from t1_vectorstore.errors import StoreUnavailable
        from pathlib import Path
        import os
        os.setgid(65534); os.setuid(65534)
        for place in (Path(sys.argv[1]), Path(sys.argv[1]) / "new"):
            try:
                IndexFolder(place, create=True)
            except StoreUnavailable as error:
                print(error)
        """
    try:
        with Collection.open(path, identity=MODEL) as collection:
            collection.upsert(points(5))
        said = output(python(script, path))
        assert said.count("Permission denied") == 2
        assert said.count(str(path)) == 2
    finally:
        shutil.rmtree(path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 90 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=90m", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here")
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.mark.process
def test_a_full_disk_stops_only_writes(small_disk: Path) -> None:
    said = output(
        python(
            """
            import random
            from t1_vectorstore.errors import StoreUnavailable
            noise = random.Random(7)
            with Collection.open(sys.argv[1], identity=MODEL) as c:
                stored = 0
                try:
                    for turn in range(100):
                        stored += c.upsert([point(f"{turn} {n}", noise.randbytes(10000).hex()) for n in range(50)])
                except StoreUnavailable as error:
                    assert sys.argv[1] in str(error) and "MiB are left" in str(error), error
                    assert c.count() == stored + error.stored > 100
                    assert len(c.search(vector(1), limit=20)) == 20
                    c.delete(["0 1"])
                    print("full", c.count())
            with Collection.open(sys.argv[1]) as c:
                print("still", c.count())
            with open(sys.argv[1] + "/../filler", "wb") as filler:
                filler.truncate(0)
                try:
                    while True: filler.write(bytes(2**20)); filler.flush()
                except OSError: pass
            try:
                Collection.open(sys.argv[1])
            except StoreUnavailable as error:
                print("refused", error)
            """,
            small_disk / "index",
        )
    )
    lines = said.splitlines()
    assert [line.split()[0] for line in lines] == ["full", "still", "refused"], said
    assert lines[0].split()[1] == lines[1].split()[1]


def test_disk_space_is_checked_before_a_write(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Collection.open(index) as collection:
        monkeypatch.setattr(folders, "_SPACE_TO_WRITE", 2**62)
        with pytest.raises(StoreUnavailable, match="is full") as caught:
            collection.upsert(points(3, 10))
        assert caught.value.stored == 0  # type: ignore[attr-defined]
        assert collection.count() == 5
