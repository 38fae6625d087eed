"""Maintenance of a folder that is open several times in this process."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from t1_vectorstore.collection import Collection
from t1_vectorstore.errors import CollectionLocked
from t1_vectorstore.indexing import load
from t1_vectorstore.maintenance.reindex import reindex
from t1_vectorstore.maintenance.snapshots import restore, snapshot
from t1_vectorstore.maintenance.swap import swap_target
from t1_vectorstore.maintenance.sync import SyncPass
from tests.maintenance.models import NEW, OLD, documents


def test_an_index_that_is_open_elsewhere_is_not_replaced(index: Collection, saved: Path) -> None:
    with Collection.open(index.location) as other:
        with pytest.raises(CollectionLocked, match="is open once more in this process; close the other stores"):
            reindex(index, NEW)
        for call in (swap_target(index.location, index.name).roll_back, swap_target(index.location, "t1").drop_others):
            with pytest.raises(CollectionLocked, match="is open in this process"):
                call()
        with pytest.raises(CollectionLocked, match="is open in this process"):
            restore(saved, index.location, overwrite=True)
        assert other.count() == index.count() == 60
    assert reindex(index, NEW).moved
    with Collection.open(index.location) as moved:
        assert moved.identity == NEW.identity


def test_an_index_that_is_opened_elsewhere_during_a_reindex_is_not_replaced(index: Collection) -> None:
    opened: list[Collection] = []

    def open_it(_: SyncPass) -> None:
        if not opened:
            opened.append(Collection.open(index.location))

    with pytest.raises(CollectionLocked, match="is open once more in this process"):
        reindex(index, NEW, on_progress=open_it)
    assert opened[0].count() == index.count() == 60
    assert opened[0].identity == OLD.identity
    opened[0].close()
    assert reindex(index, NEW).encoded == 0, "the build is complete, and only the switch is left"


@pytest.mark.thorough
def test_a_snapshot_is_complete_while_another_user_writes(index: Collection, tmp_path: Path) -> None:
    stop = threading.Event()

    def write() -> None:
        with Collection.open(index.location) as other:
            first = 1000
            while not stop.is_set():
                load(documents(5, first=first), OLD, other)
                first += 5

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for turn in range(3):
            header = snapshot(index, tmp_path / f"{turn}.tar.gz")
            restored = restore(tmp_path / f"{turn}.tar.gz", tmp_path / f"restored-{turn}")  # compares the digests
            assert restored.points == header.points >= 60
    finally:
        stop.set()
        thread.join()
