"""Fixtures: an index to save, and a snapshot of one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from t1_vectorstore.collection import Collection
from t1_vectorstore.indexing import load
from t1_vectorstore.maintenance.snapshots import snapshot
from tests.collection.conftest import admin, server_url  # noqa: F401 - fixtures
from tests.maintenance.models import OLD
from tests.maintenance.snapshots import SETTINGS, SOURCE


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Collection]:
    with Collection.open(tmp_path / "index", identity=OLD.identity, **SETTINGS) as collection:
        load(SOURCE, OLD, collection)
        yield collection


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a snapshot of a folder."""
    folder = tmp_path_factory.mktemp("saved")
    with Collection.open(folder / "index", identity=OLD.identity, **SETTINGS) as collection:
        load(SOURCE, OLD, collection)
        assert snapshot(collection, folder / "saved.tar.gz").points == 60
    return folder / "saved.tar.gz"
