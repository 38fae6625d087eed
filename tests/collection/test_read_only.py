"""Collections that are opened for reading only."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from t1_vectorstore.collection import Collection
from t1_vectorstore.errors import CollectionLocked, CollectionMismatch, CollectionNotFound, StoreError, StoreUnavailable
from tests.collection.points import MODEL, OTHER, points, vector
from tests.collection.processes import output, python


@pytest.fixture(autouse=True)
def temporary_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A place for copies, which must be empty in the end."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    yield place
    assert list(place.iterdir()) == []


def found(collection: Collection) -> list[tuple[str, float]]:
    return [(hit.id, hit.score) for hit in collection.search(vector(1), limit=20)]


def test_a_folder_is_read_and_not_changed(index: Path) -> None:
    with Collection.open(index) as collection:
        expected = found(collection)
    before = {path: path.stat().st_mtime_ns for path in index.rglob("*")}
    with Collection.open(index, identity=MODEL, read_only=True) as collection:
        assert found(collection) == expected
        assert collection.count() == len(list(collection.scroll())) == 5
        assert collection.info().location == str(index)
        calls: list[tuple[Any, ...]] = [
            (collection.upsert, points(1)),
            (collection.write, points(1)),
            (collection.delete, ["1"]),
            (collection.delete_documents, ["1"]),
            (collection.bulk,),
            (collection.restore_indexing,),
            (collection.optimize,),
            (lambda: collection.loading(chunk_size=1, overlap=0).__enter__(),),
        ]
        for call, *arguments in calls:
            with pytest.raises(StoreError, match="was opened with read_only=True; open it without, to change it"):
                call(*arguments)
    assert {path: path.stat().st_mtime_ns for path in index.rglob("*")} == before


@pytest.mark.process
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="becomes another user")
def test_a_folder_that_is_not_writable_is_read(index: Path) -> None:
    for folder in (index, *index.parents[:-2]):
        folder.chmod(0o755)
    said = output(
        python(
            """
            import os
            from t1_vectorstore.errors import StoreUnavailable
            Collection.open(sys.argv[1], read_only=True).close()  # imports what the other user may be unable to
            os.setgid(65534)
            os.setuid(65534)
            try:
                Collection.open(sys.argv[1])
            except StoreUnavailable as error:
                print(error)
            with Collection.open(sys.argv[1], read_only=True) as c:
                print(c.count(), len(c.search(next(iter(points(1))).vector)))
            """,
            index,
        )
    )
    assert "open it with read_only=True" in said
    assert said.endswith("5 5\n")


def test_an_index_without_the_files_of_locks_is_read(index: Path) -> None:
    for name in ("lock", "changes"):
        (index / name).unlink()
    with Collection.open(index, read_only=True) as collection:
        assert collection.count() == 5
    assert not (index / "lock").exists()


def test_an_index_that_is_open_is_read_as_it_was_when_the_reader_opened_it(index: Path) -> None:
    with Collection.open(index) as writer:
        writer.upsert(points(5, 5))
        with Collection.open(index, read_only=True) as reader:
            writer.upsert(points(5, 10))
            assert reader.count() == 10
            with Collection.open(index, read_only=True) as later:
                assert later.count() == 15
        writer.optimize()
        with Collection.open(index, read_only=True) as reader:
            assert found(reader) == found(writer)


@pytest.mark.process
def test_readers_see_whole_batches_while_another_process_writes(index: Path) -> None:
    writer = python(
        """
        from pathlib import Path
        with Collection.open(sys.argv[1]) as c:
            for batch in range(2_000):
                c.upsert(points(50, 5 + 50 * batch))
                if batch == 0:
                    print("writing", flush=True)
                if Path(sys.argv[2]).exists():
                    break
            print(c.count())
        """,
        index,
        index.parent / "stop",
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "writing\n"
    counts = []
    try:
        for _ in range(8):
            with Collection.open(index, read_only=True) as reader:
                counts.append(reader.count())
                ids = {chunk.id for chunk in reader.scroll()}
                assert ids == {point.chunk.id for point in points(counts[-1])}, "no point is missing or damaged"
                assert len(reader.search(vector(1), limit=20)) == 20
    finally:
        (index.parent / "stop").touch()
        total = int(output(writer))
    assert all(count % 50 == 5 for count in counts)
    assert counts == sorted(counts)
    assert counts[0] < counts[-1] <= total
    with Collection.open(index) as collection:
        assert collection.count() == total


def test_what_cannot_be_read_is_refused(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CollectionNotFound):
        Collection.open(tmp_path / "nothing", identity=MODEL, read_only=True)
    with pytest.raises(CollectionNotFound):
        Collection.open(":memory:", identity=MODEL, read_only=True)
    with pytest.raises(CollectionMismatch):
        Collection.open(index, identity=OTHER, read_only=True)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=0))
    with pytest.raises(
        StoreUnavailable, match=rf"has 0 MiB left, and a copy of the index in {index} takes \d+ MiB; .*TMPDIR"
    ):
        Collection.open(index, read_only=True)


@pytest.mark.process
def test_the_copy_of_a_reader_that_was_killed_is_deleted_by_the_next_one(index: Path, temporary_folders: Path) -> None:
    script = "import tempfile; tempfile.tempdir = sys.argv[2]; c = Collection.open(sys.argv[1], read_only=True)"
    reader = python(f"{script}; print('open', flush=True); sys.stdin.read()", index, temporary_folders)
    assert reader.stdout is not None
    assert reader.stdout.readline() == "open\n"
    with Collection.open(index, read_only=True):
        assert len(list(temporary_folders.iterdir())) == 2, "that of a running reader stays"
    reader.kill()
    reader.communicate()
    assert len(list(temporary_folders.iterdir())) == 1
    with Collection.open(index, read_only=True):
        assert len(list(temporary_folders.iterdir())) == 1


def test_an_index_that_is_open_in_an_earlier_version_is_refused(index: Path) -> None:
    with Collection.open(index):
        (index / "changes").unlink()
        with pytest.raises(CollectionLocked, match="with an earlier version of this package"):
            Collection.open(index, read_only=True)


@pytest.mark.server
def test_a_server_s_collection_is_read(server_url: str, fresh_name: str) -> None:
    with pytest.raises(CollectionNotFound):
        Collection.open(server_url, name=fresh_name, identity=MODEL, read_only=True)
    with Collection.open(server_url, name=fresh_name, identity=MODEL) as writer:
        writer.upsert(points(5))
        with Collection.open(server_url, name=fresh_name, read_only=True) as reader:
            assert found(reader) == found(writer)
            with pytest.raises(StoreError, match="read_only=True"):
                reader.upsert(points(1))
