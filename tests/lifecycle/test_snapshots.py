"""Snapshots of folders and servers: what comes back is what was saved, and nothing else is ever accepted."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import signal
import subprocess
import sys
import tarfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import QdrantClient

from t1_vectorstore.chunking import Chunker
from t1_vectorstore.errors import CollectionLocked, CollectionNotFound, StoreError, StoreUnavailable
from t1_vectorstore.ingest import load
from t1_vectorstore.lifecycle import archive
from t1_vectorstore.lifecycle.archive import Header
from t1_vectorstore.lifecycle.homes import home_of
from t1_vectorstore.lifecycle.reindex import reindex
from t1_vectorstore.lifecycle.scratch import scratch
from t1_vectorstore.lifecycle.snapshots import pull, restore, snapshot
from t1_vectorstore.lifecycle.verify import verify
from t1_vectorstore.store import Collection
from tests.lifecycle.worlds import NEW, OLD, changed, documents
from tests.store.conftest import admin, server_url  # noqa: F401 - fixtures

SOURCE = documents(60)
MAKING: dict[str, Any] = {"hybrid": True, "indexes": {"n": "integer"}}


def equal(collection: Collection, source: Any = SOURCE) -> bool:
    return verify(source, collection, Chunker(), embedder=OLD, vectors=30).equal


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Collection]:
    with Collection.open(tmp_path / "index", identity=OLD.identity, **MAKING) as collection:
        load(SOURCE, OLD, collection)
        yield collection


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A snapshot of a folder."""
    folder = tmp_path_factory.mktemp("saved")
    with Collection.open(folder / "index", identity=OLD.identity, **MAKING) as collection:
        load(SOURCE, OLD, collection)
        assert snapshot(collection, folder / "saved.tar.gz").points == 60
    return folder / "saved.tar.gz"


def test_a_folder_comes_back_while_the_index_is_in_use(index: Collection, tmp_path: Path) -> None:
    saved = tmp_path / "saved.tar.gz"
    snapshot(index, saved)
    load([changed(SOURCE[0]), *documents(10, first=500)], OLD, index)
    restore(saved, tmp_path / "back")
    with Collection.open(tmp_path / "back", identity=OLD.identity, **MAKING) as back:
        assert equal(back)
        assert back.uid != index.uid
        vector = OLD.embed_documents([SOURCE[7].text]).vectors[0]
        assert back.search(vector, text=SOURCE[7].text, filter={"n": 7}, limit=1)[0].id == "doc 7"
        load(documents(10, first=900), OLD, back)
        assert back.count() == 70
    assert index.count() == 70
    assert sorted(path.name for path in (tmp_path / "back").iterdir()) == ["lock", "shard", "t1.json"]


def test_holes_take_no_room(saved: Path, tmp_path: Path) -> None:
    restore(saved, tmp_path / "back")
    files = [path for path in (tmp_path / "back").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) > 60 * 2**20
    assert sum(path.stat().st_blocks * 512 for path in files) < 30 * 2**20
    assert saved.stat().st_size < 2 * 2**20


def test_a_moved_index_is_saved_as_it_is_now(index: Collection, tmp_path: Path) -> None:
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


def test_an_overwritten_index_can_be_gone_back_to(index: Collection, saved: Path, tmp_path: Path) -> None:
    load(documents(10, first=500), OLD, index)
    index.close()
    restore(saved, tmp_path / "index", overwrite=True)
    with Collection.open(tmp_path / "index") as restored:
        assert equal(restored)
    home_of(tmp_path / "index", "t1").roll_back()
    with Collection.open(tmp_path / "index") as former:
        assert former.count() == 70


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A snapshot of files that are no engine's."""
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "page_0.dat").write_bytes(bytes(range(256)) * 1000 + bytes(300_000))
    (tmp_path / "small" / "other").write_bytes(b"other")
    members = [(f"shard/{path.name}", path) for path in sorted((tmp_path / "small").iterdir())]
    archive.pack(tmp_path / "small.tar.gz", Header("embedded", {}, 1, "d", 1), members, overwrite=False)
    return tmp_path / "small.tar.gz"


def repacked(
    file: Path, out: Path, change: Callable[[tarfile.TarInfo, bytes], tuple[tarfile.TarInfo, bytes] | None]
) -> Path:
    """The snapshot, each of its members changed or (``None``) left out."""
    with tarfile.open(file) as old, tarfile.open(out, "w:gz", compresslevel=1) as new:
        for member in old:
            source = old.extractfile(member) if member.isreg() else None
            if (made := change(member, source.read() if source else b"")) is not None:
                made[0].size = len(made[1])
                new.addfile(made[0], io.BytesIO(made[1]))
    return out


def damaged(member: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
    if member.name.endswith("page_0.dat"):
        content = content[:100] + bytes([content[100] ^ 1]) + content[101:]
    return member, content


def without_end(member: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes] | None:
    return None if member.name == "checksums.json" else (member, content)


def without_a_file(member: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes] | None:
    return None if member.name.endswith("page_0.dat") else (member, content)


def escaping(name: str) -> Callable[[tarfile.TarInfo, bytes], tuple[tarfile.TarInfo, bytes]]:
    def change(member: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
        if member.name.endswith("page_0.dat"):
            member.name = name
        return member, content

    return change


def link(member: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
    if member.name.endswith("page_0.dat"):
        member.type, member.linkname, content = tarfile.SYMTYPE, "/etc/passwd", b""
    return member, content


def other_points(member: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
    if member.name == "t1-snapshot.json":
        content = json.dumps(json.loads(content) | {"points": 7}).encode()
    return member, content


def later(member: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
    if member.name == "t1-snapshot.json":
        content = json.dumps(json.loads(content) | {"format": 9}).encode()
    return member, content


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (damaged, "is damaged"),
        (without_end, "was cut off"),
        (without_a_file, "is damaged"),
        (escaping("../../outside"), "outside its folder"),
        (escaping("/outside"), "outside its folder"),
        (escaping("shard/..\\outside"), "outside its folder"),
        (link, "neither a file nor a folder"),
        (later, "upgrade"),
    ],
)
def test_what_is_not_what_was_packed_is_refused(small: Path, tmp_path: Path, change: Any, says: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(StoreError, match=says):
        archive.unpack(repacked(small, tmp_path / "repacked.tar.gz", change), out, inside="shard")
    assert not list(tmp_path.rglob("*outside*"))


def test_points_that_are_not_those_that_were_saved_are_told(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is not what was saved: 60 points for 7"):
        restore(repacked(saved, tmp_path / "repacked.tar.gz", other_points), tmp_path / "back")


@pytest.mark.parametrize("kept", [0, 10, 0.3, 0.9, -100])
def test_a_file_that_was_cut_off_is_refused(small: Path, tmp_path: Path, kept: float) -> None:
    content = small.read_bytes()
    part = tmp_path / "part.tar.gz"
    part.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    (tmp_path / "out").mkdir()
    with pytest.raises(StoreError, match=r"damaged|cut off|does not begin"):
        archive.unpack(part, tmp_path / "out", inside="shard")


def test_a_whole_file_is_restored_where_a_part_was_refused(saved: Path, tmp_path: Path) -> None:
    part = tmp_path / "part.tar.gz"
    part.write_bytes(saved.read_bytes()[:-600])
    with pytest.raises(StoreError, match=r"damaged|cut off"):
        restore(part, tmp_path / "back")
    restore(saved, tmp_path / "back")
    with Collection.open(tmp_path / "back") as back:
        assert equal(back)


KILLED = """
import os, signal, sys
from t1_vectorstore.cli import main
from t1_vectorstore.lifecycle import archive
step, at = getattr(archive, sys.argv[1]), int(sys.argv[2])
def counted(*arguments, done=[]):
    done.append(1)
    if len(done) == at:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(*arguments)
setattr(archive, sys.argv[1], counted)
del sys.argv[1:3]
main()
"""


def killed(step: str, at: int, *arguments: str) -> None:
    """Run ``t1`` in a process that kills itself before it packs or unpacks its so-and-so-many-th file."""
    command = [sys.executable, "-c", KILLED, step, str(at), *arguments]
    assert subprocess.run(command, cwd=Path(__file__).parents[2], check=False).returncode == -signal.SIGKILL


@pytest.mark.parametrize("at", [9])
def test_killed_at_any_file_the_same_command_again_completes(saved: Path, tmp_path: Path, at: int) -> None:
    killed("_extract", at, "restore", str(saved), str(tmp_path / "back"))
    with pytest.raises(CollectionNotFound):
        Collection.open(tmp_path / "back")
    restore(saved, tmp_path / "back")
    killed("_extract", at, "restore", "--overwrite", str(saved), str(tmp_path / "back"))
    killed("_add", at, "snapshot", str(tmp_path / "back"), str(tmp_path / "file.tar.gz"))
    assert not (tmp_path / "file.tar.gz").exists()
    with Collection.open(tmp_path / "back") as back:
        assert equal(back)
        snapshot(back, tmp_path / "file.tar.gz")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back", "file.tar.gz"]


@pytest.mark.parametrize("content", [b"text", gzip.compress(b"text"), b""])
def test_other_files_are_no_snapshots(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(StoreError, match="snapshot"):
        restore(tmp_path / "file", tmp_path / "back")
    with pytest.raises(StoreError, match="there is no file"):
        restore(tmp_path / "none", tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_a_disk_that_is_too_small_is_told_before_it_is_full(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(
        shutil, "disk_usage", lambda path: usage._replace(free=1000 if path.name == "shard.new" else usage.free)
    )
    with pytest.raises(StoreUnavailable, match="is too small: 0 MiB are left"):
        restore(saved, tmp_path / "back")
    assert [path.name for path in (tmp_path / "back").iterdir()] == ["lock"]
    monkeypatch.undo()
    restore(saved, tmp_path / "back")


def test_a_restore_that_fails_leaves_nothing_in_the_index_that_stays(index: Collection, tmp_path: Path) -> None:
    snapshot(index, tmp_path / "saved.tar.gz")
    index.close()
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes((tmp_path / "saved.tar.gz").read_bytes()[:-200])
    before = sorted((tmp_path / "index").rglob("*"))
    with pytest.raises(StoreError, match="cut off"):
        restore(cut, tmp_path / "index", overwrite=True)
    assert sorted(path for path in (tmp_path / "index").rglob("*") if path.name != "builds") == before


def test_scratch_folders_of_dead_processes_are_removed(tmp_path: Path) -> None:
    code = "import os, sys, pathlib, t1_vectorstore.lifecycle.scratch as s; held = s.scratch(pathlib.Path(sys.argv[1]))"
    command = [sys.executable, "-c", f"{code}; held.__enter__(); os._exit(1)", str(tmp_path)]
    subprocess.run(command, cwd=Path(__file__).parents[2], check=False)
    (left,) = tmp_path.iterdir()
    (tmp_path / "mine").mkdir()
    with scratch(tmp_path) as first, scratch(tmp_path) as second:
        assert not left.exists()
        assert first.exists()
        assert sorted(tmp_path.iterdir()) == sorted([first, second, tmp_path / "mine"])
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_memory_has_nothing_to_save(tmp_path: Path) -> None:
    with Collection.open(":memory:", identity=OLD.identity) as collection:
        with pytest.raises(ValueError, match="no files to save"):
            snapshot(collection, tmp_path / "file")
        with pytest.raises(ValueError, match="only a server's"):
            pull(collection, tmp_path / "folder")


@pytest.fixture
def served(server_url: str, admin: QdrantClient) -> Iterator[Collection]:  # noqa: F811
    name = f"snap-{uuid.uuid4().hex}"
    with Collection.open(server_url, name=name, identity=OLD.identity, **MAKING) as collection:
        load(SOURCE, OLD, collection)
        yield collection
    for found in admin.get_collections().collections:
        if found.name.startswith(name):
            admin.delete_collection(found.name)


@pytest.mark.server
def test_a_servers_collection_comes_back(served: Collection, tmp_path: Path, admin: QdrantClient) -> None:  # noqa: F811
    file = tmp_path / "served.tar.gz"
    header = snapshot(served, file)
    assert (header.kind, header.points) == ("server", 60)
    assert admin.list_snapshots(served.name) == []
    load([changed(SOURCE[0]), *documents(10, first=500)], OLD, served)
    with pytest.raises(ValueError, match="has a collection"):
        restore(file, served.location)
    restore(file, served.location, name=f"{served.name}-back")
    with Collection.open(served.location, name=f"{served.name}-back", identity=OLD.identity) as back:
        assert equal(back)
    assert not equal(served)
    restore(file, served.location, overwrite=True)
    with Collection.open(served.location, name=served.name, identity=OLD.identity) as back:
        assert equal(back)
    with pytest.raises(ValueError, match="t1 pull"):
        restore(file, tmp_path / "folder")
    with pytest.raises(StoreError, match="is damaged"):
        restore(repacked(file, tmp_path / "bad.tar.gz", damaged_server), served.location, name=f"{served.name}-bad")
    assert not admin.collection_exists(f"{served.name}-bad")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".t1-")] == []


def damaged_server(member: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
    return member, content[:-1] + b"x" if member.name == "collection.snapshot" else content


@pytest.mark.server
def test_a_servers_index_is_pulled_into_a_folder(served: Collection, tmp_path: Path) -> None:
    assert pull(served, tmp_path / "pulled").points == 60
    with Collection.open(tmp_path / "pulled", name=served.name, identity=OLD.identity, **MAKING) as pulled:
        assert equal(pulled)
        vector = OLD.embed_documents([SOURCE[7].text]).vectors[0]
        assert pulled.search(vector, text=SOURCE[7].text, filter={"n": 7}, limit=1)[0].id == "doc 7"
        load([*SOURCE, *documents(20, first=700)], OLD, pulled)
    with Collection.open(tmp_path / "pulled", name=served.name) as again:
        assert equal(again, [*SOURCE, *documents(20, first=700)])
    with pytest.raises(ValueError, match="not empty"):
        pull(served, tmp_path / "pulled")


@pytest.mark.server
def test_a_snapshot_of_a_folder_is_not_for_a_server(saved: Path, server_url: str) -> None:  # noqa: F811
    with pytest.raises(ValueError, match="restore it into a folder"):
        restore(saved, server_url)


def test_the_latest_load_is_remembered_through_moves(index: Collection, tmp_path: Path) -> None:
    with index.loading(Chunker(800, 100)):
        pass
    load = index.latest_load
    snapshot(index, tmp_path / "saved.tar.gz")
    restore(tmp_path / "saved.tar.gz", tmp_path / "copy")
    reindex(index, NEW)
    for place in ("index", "copy"):
        with Collection.open(tmp_path / place, create=False) as moved:
            assert moved.latest_load == load is not None


@pytest.mark.server
def test_the_latest_load_comes_with_a_pulled_index(served: Collection, tmp_path: Path) -> None:
    with served.loading(Chunker(800, 100)):
        pass
    pull(served, tmp_path / "pulled")
    with Collection.open(tmp_path / "pulled", name=served.name, create=False) as pulled:
        assert pulled.latest_load == served.latest_load is not None
