"""An index folder whose process is killed at any step."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from t1_vectorstore.collection import Collection
from t1_vectorstore.errors import CollectionNotFound
from tests.collection.points import MODEL, OTHER, points, vector
from tests.collection.processes import output, python


@pytest.mark.process
def test_a_killed_writer_loses_no_stored_points(tmp_path: Path) -> None:
    index = tmp_path / "index"
    for turn in range(3):
        writer = python(
            """
            c = Collection.open(sys.argv[1], identity=MODEL)
            for turn in range(1000):
                c.upsert(points(100, turn * 100))
                print(turn, flush=True)
            """,
            index,
        )
        assert writer.stdout is not None
        stored = [int(writer.stdout.readline()) for _ in range(3 + 4 * turn)][-1]
        writer.kill()
        rest, _ = writer.communicate()
        stored = max([stored, *(int(line) for line in rest.split("\n")[:-1])])
        with Collection.open(index, identity=MODEL) as collection:
            ids = [f"doc {n}" for n in range((stored + 1) * 100)]
            assert len(collection.get(ids)) == len(ids)
            assert collection.search(vector(7), limit=1)[0].id == "doc 7"
    with Collection.open(index, identity=MODEL) as collection:
        collection.upsert(points(2000))
        collection.delete(filter={"number": {"gte": 2000}})
        assert collection.count() == 2000
        assert sorted(chunk.metadata["number"] for chunk in collection.scroll()) == list(range(2000))


@pytest.mark.process
@pytest.mark.parametrize("step", ["fill", "describe", "rename"])
def test_a_creation_can_be_killed_at_any_step(tmp_path: Path, step: str) -> None:
    index = tmp_path / "index"
    kill = """
        import os, signal
        from pathlib import Path
        from unittest.mock import patch
        from t1_vectorstore.engines.embedded import folder
        def die(*_): os.kill(os.getpid(), signal.SIGKILL)
        after = {"fill": (folder, "replace_record"), "describe": (Path, "replace"), "rename": (Path, "rename")}
        patch.object(*after[sys.argv[2]], new=die).start()
        Collection.open(sys.argv[1], identity=MODEL)
        """
    output(python(kill, index, step), expected=-signal.SIGKILL)
    if step == "rename":
        with Collection.open(index) as collection:
            assert collection.count() == 0
    else:
        with pytest.raises(CollectionNotFound):
            Collection.open(index)
    with Collection.open(index, identity=MODEL) as collection:
        collection.upsert(points(5))
    with Collection.open(index) as collection:
        assert collection.count() == 5
    assert sorted(entry.name for entry in index.iterdir()) == ["changes", "lock", "shard", "t1.json"]


def test_an_unfinished_index_can_be_created_for_another_model(tmp_path: Path) -> None:
    (tmp_path / "shard.new").mkdir()
    (tmp_path / "shard.new" / "half").write_text("written")
    (tmp_path / "t1.json.new").write_text("{")
    with Collection.open(tmp_path, identity=OTHER) as collection:
        assert collection.identity == OTHER


def test_the_write_ahead_log_is_flushed_regularly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from t1_vectorstore.engines.embedded import engine

    monkeypatch.setattr(engine, "_FLUSH_SECONDS", 0.0)
    with Collection.open(tmp_path / "index", identity=MODEL) as collection:
        collection.upsert(points(600))
        collection.delete(["doc 1"])
        assert collection.count() == 599
