"""Snapshots of a server's collection, and copies of it in a folder."""

from __future__ import annotations

import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from qdrant_client import QdrantClient

from t1_vectorstore.collection import Collection
from t1_vectorstore.engines.server.snapshots import ServerSnapshots
from t1_vectorstore.errors import StoreError
from t1_vectorstore.indexing import load
from t1_vectorstore.maintenance.snapshots import pull, restore, snapshot
from tests.collection.conftest import admin, server_url  # noqa: F401 - fixtures
from tests.maintenance.models import OLD, changed, documents
from tests.maintenance.snapshots import SETTINGS, SOURCE, is_equal, repacked


@pytest.fixture
def served(server_url: str, admin: QdrantClient) -> Iterator[Collection]:  # noqa: F811
    name = f"snap-{uuid.uuid4().hex}"
    with Collection.open(server_url, name=name, identity=OLD.identity, **SETTINGS) as collection:
        load(SOURCE, OLD, collection)
        yield collection
    for found in admin.get_collections().collections:
        if found.name.startswith(name):
            admin.delete_collection(found.name)


@pytest.mark.server
def test_a_servers_collection_is_restored(served: Collection, tmp_path: Path, admin: QdrantClient) -> None:  # noqa: F811
    file = tmp_path / "served.tar.gz"
    header = snapshot(served, file)
    assert (header.kind, header.points) == ("server", 60)
    assert admin.list_snapshots(served.name) == []
    load([changed(SOURCE[0]), *documents(10, first=500)], OLD, served)
    with pytest.raises(ValueError, match="has a collection"):
        restore(file, served.location)
    restore(file, served.location, name=f"{served.name}-back")
    with Collection.open(served.location, name=f"{served.name}-back", identity=OLD.identity) as back:
        assert is_equal(back)
    assert not is_equal(served)
    restore(file, served.location, overwrite=True)
    with Collection.open(served.location, name=served.name, identity=OLD.identity) as back:
        assert is_equal(back)
    with pytest.raises(ValueError, match="t1 pull"):
        restore(file, tmp_path / "folder")
    with pytest.raises(StoreError, match="is damaged"):
        restore(repacked(file, tmp_path / "bad.tar.gz", damaged), served.location, name=f"{served.name}-bad")
    assert not admin.collection_exists(f"{served.name}-bad")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".t1-")] == []


def damaged(member: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
    return member, content[:-1] + b"x" if member.name == "collection.snapshot" else content


@pytest.mark.server
def test_a_servers_index_is_pulled_into_a_folder(served: Collection, tmp_path: Path) -> None:
    assert pull(served, tmp_path / "pulled").points == 60
    with Collection.open(tmp_path / "pulled", name=served.name, identity=OLD.identity, **SETTINGS) as pulled:
        assert is_equal(pulled)
        vector = OLD.embed_documents([SOURCE[7].text]).vectors[0]
        assert pulled.search(vector, text=SOURCE[7].text, filter={"n": 7}, limit=1)[0].id == "doc 7"
        load([*SOURCE, *documents(20, first=700)], OLD, pulled)
    with Collection.open(tmp_path / "pulled", name=served.name) as again:
        assert is_equal(again, [*SOURCE, *documents(20, first=700)])
    with pytest.raises(ValueError, match="not empty"):
        pull(served, tmp_path / "pulled")


@pytest.mark.server
def test_a_folders_snapshot_is_refused_for_a_server(saved: Path, server_url: str) -> None:  # noqa: F811
    with pytest.raises(ValueError, match="restore it into a folder"):
        restore(saved, server_url)


@pytest.mark.server
def test_the_load_record_is_pulled_with_the_index(served: Collection, tmp_path: Path) -> None:
    with served.loading(chunk_size=800, overlap=100):
        pass
    pull(served, tmp_path / "pulled")
    with Collection.open(tmp_path / "pulled", name=served.name, create=False) as pulled:
        assert pulled.latest_load == served.latest_load is not None


@pytest.mark.server
def test_a_collection_that_is_partly_on_other_servers_is_not_saved(
    served: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ServerSnapshots, "_shards", lambda *_: ([0], [0, 1]))
    with pytest.raises(StoreError, match=r"1 shards of .* are only on other servers"):
        snapshot(served, tmp_path / "part.tar.gz")
    assert list(tmp_path.iterdir()) == []
