"""Optimising an embedded index: points and answers stay the same before, during and after it, also after a kill."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import qdrant_edge as edge

from t1_vectorstore.collection import Collection
from t1_vectorstore.engines.embedded import optimize
from t1_vectorstore.errors import StoreError
from t1_vectorstore.options import Storage
from t1_vectorstore.types import ModelIdentity, Point
from tests.collection.conftest import Place
from tests.collection.points import point, points
from tests.collection.test_storage import clustered

DIMENSION, COUNT = 256, 11_000  # the library builds a graph from 10 MB of vectors
LARGE = ModelIdentity("test-model", "a" * 64, DIMENSION)


@pytest.fixture(scope="module")
def rows() -> list[Point]:
    return [point(f"doc {number}", at=row) for number, row in enumerate(clustered(COUNT, DIMENSION))]


def shards(index: Path) -> list[str]:
    return sorted(entry.name for entry in index.iterdir() if entry.is_dir())


@pytest.mark.process
def test_searches_are_answered_while_a_graph_is_built(
    tmp_path: Path, rows: list[Point], monkeypatch: pytest.MonkeyPatch
) -> None:
    index = tmp_path / "index"
    answered: list[str] = []

    def optimize_copy(copy: Path) -> None:
        answered.extend(hit.id for hit in collection.search(rows[3].vector, limit=1))
        writer.start()
        really(copy)

    really = optimize.optimize_copy
    monkeypatch.setattr("t1_vectorstore.engines.embedded.engine.optimize_copy", optimize_copy)
    with Collection.open(index, identity=LARGE, storage=Storage(quantization="int8")) as collection:
        collection.upsert(rows)
        writer = threading.Thread(target=collection.upsert, args=([point("late", at=rows[5].vector)],))
        collection.optimize()
        writer.join()
        assert answered == ["doc 3"]
        assert collection.count() == COUNT + 1
        found = [{hit.id for hit in collection.search(row.vector)} for row in rows[:20]]
    exact = np.stack([row.vector for row in rows])
    true = [{f"doc {number}" for number in np.argsort(-(exact @ row.vector))[:10]} for row in rows[:20]]
    assert np.mean([len(a & b) / 10 for a, b in zip(found, true, strict=True)]) >= 0.95
    (shard,) = shards(index)
    opened = edge.EdgeShard.load(str(index / shard))
    assert opened.info().indexed_vectors_count >= COUNT
    opened.close()
    with Collection.open(index, identity=LARGE) as collection:
        assert collection.get(["late", "doc 0"]).keys() == {"late", "doc 0"}


@pytest.mark.process
def test_a_failed_optimisation_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimize, "_CHILD", "import os; os.kill(os.getpid(), 9)")
    with Collection.open(tmp_path / "index", identity=LARGE) as collection:
        collection.upsert([point("a", at=np.ones(DIMENSION))])
        with pytest.raises(StoreError, match="is unchanged"):
            collection.optimize()
        collection.upsert([point("b", at=np.ones(DIMENSION))])
        assert collection.count() == 2
    assert shards(tmp_path / "index") == ["shard"]


@pytest.mark.process
@pytest.mark.parametrize("step", ["optimize_copy", "use_copy", "rmtree"])
def test_optimisation_can_be_killed_at_any_step(tmp_path: Path, step: str) -> None:
    script = """
        import os, shutil, sys
        from pathlib import Path
        from t1_vectorstore.engines.embedded import engine, optimize
        from t1_vectorstore.collection import Collection
        def die(*_, **__):
            os.kill(os.getpid(), 9)
        with Collection.open(sys.argv[1]) as collection:
            if sys.argv[2] == "rmtree":
                optimize.shutil.rmtree = die
            else:
                setattr(engine, sys.argv[2], die)
            collection.optimize()
        """
    index = tmp_path / "index"
    with Collection.open(index, identity=LARGE) as collection:
        collection.upsert(point(f"doc {n}", at=np.eye(DIMENSION)[n]) for n in range(100))
    command: list[Any] = [sys.executable, "-c", textwrap.dedent(script), index, step]
    assert subprocess.run(command, cwd=Path(__file__).parents[2], timeout=60).returncode == -9
    assert len(shards(index)) == 2
    with Collection.open(index, identity=LARGE) as collection:
        assert collection.count() == 100
        collection.optimize()
        assert {hit.id for hit in collection.search(np.eye(DIMENSION)[7], limit=1)} == {"doc 7"}
    assert shards(index) == [json.loads((index / "t1.json").read_text())["shard"]]


def test_optimize_works_on_every_engine(place: Place) -> None:
    collection = place.open()
    collection.upsert(points(3))
    collection.optimize()
    assert collection.count() == 3
