"""An index folder can be open in one process at a time, and there any number of times."""

from __future__ import annotations

import gc
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from t1_vectorstore.collection import Collection
from t1_vectorstore.errors import CollectionLocked, CollectionMismatch, StoreError
from tests.collection.points import MODEL, OTHER, points
from tests.collection.processes import output, python


def test_opening_a_folder_in_two_processes_is_refused(tmp_path: Path) -> None:
    index = tmp_path / "index"
    with Collection.open(index, identity=MODEL) as collection:
        collection.upsert(points(5))
        said = output(
            python(
                """
                from t1_vectorstore.errors import CollectionLocked
                try:
                    Collection.open(sys.argv[1], identity=MODEL)
                except CollectionLocked as error:
                    sys.stdout.write(str(error))
                """,
                index,
            )
        )
        assert f"process {os.getpid()}" in said
        collection.upsert(points(300, 5))
        assert collection.count() == 305
    with Collection.open(index) as collection:
        assert collection.count() == 305


def test_a_failed_opening_leaves_no_lock(index: Path) -> None:
    with pytest.raises(CollectionMismatch):
        Collection.open(index, identity=OTHER)
    with Collection.open(index) as collection:
        assert collection.count() == 5


@pytest.mark.process
def test_the_lock_is_released_when_its_process_dies(index: Path) -> None:
    holder = python("c = Collection.open(sys.argv[1]); print('open', flush=True); sys.stdin.read()", index)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "open\n"
    with pytest.raises(CollectionLocked, match=f"process {holder.pid}"):
        Collection.open(index)
    holder.kill()
    holder.communicate()
    with Collection.open(index) as collection:
        assert collection.count() == 5


def test_an_index_that_was_not_closed_is_closed_by_garbage_collection(index: Path) -> None:
    collection = Collection.open(index)
    collection.upsert(points(5, 5))
    del collection
    gc.collect()
    said = output(python("c = Collection.open(sys.argv[1]); c.upsert(points(5, 10)); print(c.count())", index))
    assert said == "15\n"
    with Collection.open(index) as collection:
        assert collection.count() == 15


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_use_after_a_fork_is_an_error(tmp_path: Path) -> None:
    said = output(
        python(
            """
            import os
            from t1_vectorstore.errors import StoreError
            c = Collection.open(sys.argv[1], identity=MODEL)
            c.upsert(points(5))
            if (child := os.fork()) == 0:
                try:
                    c.upsert(points(5, 5))
                except StoreError as error:
                    os.write(1, str(error).encode())
                try:
                    Collection.open(sys.argv[1])
                except StoreError as error:
                    os.write(1, type(error).__name__.encode())
                c.close()
                os._exit(0)
            os.waitpid(child, 0)
            c.upsert(points(5, 10))
            assert c.count() == 10
            c.close()
            """,
            tmp_path / "index",
        )
    )
    assert "before a fork" in said
    assert "CollectionLocked" in said
    with Collection.open(tmp_path / "index") as collection:
        assert collection.count() == 10


def test_a_folder_that_is_open_in_this_process_is_shared(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Collection.open(index, identity=MODEL)
    (index.parent / "link").symlink_to(index)
    monkeypatch.chdir(index.parent)
    others = [Collection.open(path, identity=MODEL) for path in ("index", "link", index / ".." / "index")]
    assert others[0].upsert(points(5, 5)) == 5
    with others[1].loading(chunk_size=100, overlap=0):
        pass
    assert [each.count() for each in (first, *others)] == [10] * 4
    assert first.latest_load is not None
    assert [each.latest_load for each in others] == [first.latest_load] * 3
    first.optimize()
    assert others[2].count() == 10

    first.close()
    first.close()
    with pytest.raises(StoreError, match="is closed; open it again"):
        first.count()
    del others[2]
    others[0].close()
    assert others[1].count() == 10, "closing the others leaves this one open"
    probe = """
        from t1_vectorstore.errors import CollectionLocked
        try:
            Collection.open(sys.argv[1]).close()
        except CollectionLocked:
            print("locked")
        """
    assert output(python(probe, index)) == "locked\n"
    others[1].close()
    assert output(python(probe, index)) == "", "the last one to be closed releases the lock"
    with Collection.open(index) as collection:
        assert collection.count() == 10


def test_a_folder_that_is_open_in_this_process_is_not_shared_with_another_model(index: Path) -> None:
    with Collection.open(index, identity=MODEL) as collection:
        for options in ({"identity": OTHER}, {"hybrid": True}, {"name": "other"}, {"content_key": "text"}):
            with pytest.raises(CollectionMismatch):
                Collection.open(index, **options)  # type: ignore[arg-type]
        assert collection.count() == 5
    assert output(python("print(Collection.open(sys.argv[1]).count())", index)) == "5\n", "no lock is left"


def test_a_folder_that_was_deleted_and_made_again_is_another_index(index: Path) -> None:
    old = Collection.open(index, identity=MODEL)
    shutil.rmtree(index)
    with Collection.open(index, identity=MODEL) as new:
        assert new.count() == 0
        new.upsert(points(3))
        old.close()
        assert new.count() == 3
    with Collection.open(index) as again:
        assert again.count() == 3


def test_threads_that_open_and_close_a_folder_share_it(index: Path) -> None:
    def work(number: int) -> None:
        for turn in range(10):
            with Collection.open(index, identity=MODEL) as collection:
                collection.upsert(points(2, 100 + 20 * number + 2 * turn))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    with Collection.open(index) as collection:
        assert collection.count() == 5 + 4 * 10 * 2
