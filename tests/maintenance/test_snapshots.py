"""Snapshots of folders: the restored index is the saved one, and nothing is overwritten by accident."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from t1_vectorstore.collection import Collection
from t1_vectorstore.errors import CollectionLocked
from t1_vectorstore.indexing import load
from t1_vectorstore.indexing.chunking import Chunker
from t1_vectorstore.maintenance.reindex import reindex
from t1_vectorstore.maintenance.snapshots import pull, restore, snapshot
from t1_vectorstore.maintenance.swap import swap_target
from t1_vectorstore.maintenance.verify import verify
from tests.collection.conftest import admin, server_url  # noqa: F401 - fixtures
from tests.maintenance.models import NEW, OLD, changed, documents
from tests.maintenance.snapshots import SETTINGS, SOURCE, is_equal


def test_a_folder_is_restored_while_the_index_is_in_use(index: Collection, tmp_path: Path) -> None:
    saved = tmp_path / "saved.tar.gz"
    snapshot(index, saved)
    load([changed(SOURCE[0]), *documents(10, first=500)], OLD, index)
    restore(saved, tmp_path / "back")
    with Collection.open(tmp_path / "back", identity=OLD.identity, **SETTINGS) as back:
        assert is_equal(back)
        assert back.uid != index.uid
        vector = OLD.embed_documents([SOURCE[7].text]).vectors[0]
        assert back.search(vector, text=SOURCE[7].text, filter={"n": 7}, limit=1)[0].id == "doc 7"
        load(documents(10, first=900), OLD, back)
        assert back.count() == 70
    assert index.count() == 70
    assert sorted(path.name for path in (tmp_path / "back").iterdir()) == ["changes", "lock", "shard", "t1.json"]


def test_holes_take_no_disk_space(saved: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:  # on a disk: in memory, a hole takes space once it is read
        restore(saved, Path(folder) / "back")
        files = [path for path in Path(folder).rglob("*") if path.is_file()]
        assert sum(path.stat().st_size for path in files) > 60 * 2**20
        assert sum(path.stat().st_blocks * 512 for path in files) < 30 * 2**20
    assert saved.stat().st_size < 2 * 2**20


def test_a_reindexed_index_is_saved_in_its_current_build(index: Collection, tmp_path: Path) -> None:
    reindex(index, NEW)
    with Collection.open(tmp_path / "index") as moved:
        snapshot(moved, tmp_path / "moved.tar.gz")
    restore(tmp_path / "moved.tar.gz", tmp_path / "back")
    with Collection.open(tmp_path / "back", identity=NEW.identity) as back:
        assert verify(SOURCE, back, Chunker(), embedder=NEW, vectors=30).equal


def test_nothing_is_overwritten_by_accident(index: Collection, tmp_path: Path) -> None:
    saved = tmp_path / "saved.tar.gz"
    snapshot(index, saved)
    with pytest.raises(ValueError, match="exists; choose another name"):
        snapshot(index, saved)
    snapshot(index, saved, overwrite=True)
    with pytest.raises(ValueError, match="not empty"):
        restore(saved, tmp_path / "index")
    with pytest.raises(CollectionLocked):
        restore(saved, tmp_path / "index", overwrite=True)
    (tmp_path / "things").mkdir()
    (tmp_path / "things" / "letter.txt").write_text("mine")
    with pytest.raises(ValueError, match="is no index"):
        restore(saved, tmp_path / "things", overwrite=True)
    with pytest.raises(ValueError, match="no folder"):
        snapshot(index, tmp_path / "nowhere" / "file.tar.gz")


def test_an_overwritten_index_can_be_rolled_back(index: Collection, saved: Path, tmp_path: Path) -> None:
    load(documents(10, first=500), OLD, index)
    index.close()
    restore(saved, tmp_path / "index", overwrite=True)
    with Collection.open(tmp_path / "index") as restored:
        assert is_equal(restored)
    swap_target(tmp_path / "index", "t1").roll_back()
    with Collection.open(tmp_path / "index") as previous:
        assert previous.count() == 70


def test_the_load_record_survives_snapshots_and_reindexing(index: Collection, tmp_path: Path) -> None:
    with index.loading(chunk_size=800, overlap=100):
        pass
    record = index.latest_load
    snapshot(index, tmp_path / "saved.tar.gz")
    restore(tmp_path / "saved.tar.gz", tmp_path / "copy")
    reindex(index, NEW)
    for place in ("index", "copy"):
        with Collection.open(tmp_path / place, create=False) as moved:
            assert moved.latest_load == record is not None


def test_an_index_in_memory_cannot_be_saved(tmp_path: Path) -> None:
    with Collection.open(":memory:", identity=OLD.identity) as collection:
        with pytest.raises(ValueError, match="no files to save"):
            snapshot(collection, tmp_path / "file")
        with pytest.raises(ValueError, match="only a server's"):
            pull(collection, tmp_path / "folder")
