"""The record of the latest load, on each engine."""

from __future__ import annotations

from pathlib import Path

import pytest
from qdrant_client import QdrantClient, models

from t1_vectorstore.collection import Collection
from t1_vectorstore.types import Calibration, LoadRecord
from tests.collection.conftest import Place
from tests.collection.points import MODEL


def remembered(collection: Collection) -> tuple[int, int, bool]:
    load = collection.latest_load
    assert load is not None
    assert collection.info().load == load
    return load.chunk_size, load.overlap, load.finished


def test_a_load_is_finished_only_after_it_ended_without_error(place: Place) -> None:
    collection = place.open()
    assert collection.latest_load is None
    with collection.loading(chunk_size=800, overlap=100):
        assert remembered(collection) == (800, 100, False)
    assert remembered(collection) == (800, 100, True)
    with pytest.raises(KeyboardInterrupt), collection.loading(chunk_size=400, overlap=0):
        raise KeyboardInterrupt
    assert remembered(collection) == (400, 0, False)
    if place.engine != "memory":
        place.close()
        again = place.open()
        assert remembered(again) == (400, 0, False)
        assert again.identity == MODEL


def test_the_latest_of_overlapping_loads_is_recorded(place: Place) -> None:
    collection = place.open()
    with collection.loading(chunk_size=800, overlap=0):
        with collection.loading(chunk_size=400, overlap=0):
            pass
        assert remembered(collection) == (400, 0, True)
    assert remembered(collection) == (400, 0, True)
    with (
        collection.loading(chunk_size=800, overlap=0),
        pytest.raises(KeyboardInterrupt),
        collection.loading(chunk_size=400, overlap=0),
    ):
        raise KeyboardInterrupt
    assert remembered(collection) == (400, 0, False)


def test_a_damaged_load_record_is_ignored() -> None:
    load = LoadRecord(800, 100, "2026-01-01T00:00:00.000001+00:00", finished=True)
    assert LoadRecord.from_json({**load.to_json(), "of a later version": 1}) == load
    for damaged in (None, [], {}, {**load.to_json(), "overlap": "much"}):
        assert LoadRecord.from_json(damaged) is None


@pytest.mark.server
def test_no_load_record_is_written_to_another_packages_collection(
    server_url: str, admin: QdrantClient, fresh_name: str
) -> None:
    vectors = models.VectorParams(size=MODEL.dimension, distance=models.Distance.COSINE)
    admin.create_collection(fresh_name, vectors_config=vectors)
    with Collection.open(server_url, name=fresh_name, identity=MODEL, adopt=True) as collection:
        with collection.loading(chunk_size=1600, overlap=0):
            pass
        assert collection.latest_load is None
    assert not admin.get_collection(fresh_name).config.metadata


def test_a_collection_that_is_opened_later_has_the_saved_calibration(tmp_path: Path) -> None:
    calibration = Calibration(0.4, 20, labelled=True, quality=0.99, tokens=0.6, fitted="2026-01-01T00:00:00+00:00")
    with Collection.open(tmp_path / "index", identity=MODEL) as first:
        first.save_calibration(calibration)
        with Collection.open(tmp_path / "index") as second:
            assert second.calibration == calibration
