"""An index to save, and a snapshot of one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from t1_vectorstore.collection import Collection
from t1_vectorstore.indexing import load
from t1_vectorstore.maintenance.snapshots import snapshot
from tests.collection.conftest import admin, server_url  # noqa: F401 - fixtures
from tests.maintenance.snapshots import MAKING, SOURCE
from tests.maintenance.worlds import OLD


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Collection]:
    with Collection.open(tmp_path / "index", identity=OLD.identity, **MAKING) as collection:
        load(SOURCE, OLD, collection)
        yield collection


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A snapshot of a folder."""
    folder = tmp_path_factory.mktemp("saved")
    with Collection.open(folder / "index", identity=OLD.identity, **MAKING) as collection:
        load(SOURCE, OLD, collection)
        assert snapshot(collection, folder / "saved.tar.gz").points == 60
    return folder / "saved.tar.gz"
