"""An index folder can be open only once at a time."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

from t1_vectorstore.collection import Collection
from t1_vectorstore.errors import CollectionLocked, CollectionMismatch
from tests.collection.points import MODEL, OTHER, points
from tests.collection.processes import output, python


def test_opening_a_folder_twice_is_refused(tmp_path: Path) -> None:
    index = tmp_path / "index"
    with Collection.open(index, identity=MODEL) as collection:
        collection.upsert(points(5))
        with pytest.raises(CollectionLocked, match="open in this process"):
            Collection.open(index, identity=MODEL)
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
                c.close()
                os._exit(0)
            os.waitpid(child, 0)
            try:
                Collection.open(sys.argv[1])
            except StoreError as error:
                sys.stdout.write(type(error).__name__)
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
