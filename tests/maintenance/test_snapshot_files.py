"""A snapshot file that was cut off, damaged or forged is refused."""

from __future__ import annotations

import gzip
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from t1_vectorstore.collection import Collection
from t1_vectorstore.errors import StoreError
from t1_vectorstore.maintenance import archive
from t1_vectorstore.maintenance.archive import Header
from t1_vectorstore.maintenance.snapshots import restore
from tests.collection.conftest import admin, server_url  # noqa: F401 - fixtures
from tests.maintenance.snapshots import equal, repacked


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A snapshot of files that are no engine's."""
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "page_0.dat").write_bytes(bytes(range(256)) * 1000 + bytes(300_000))
    (tmp_path / "small" / "other").write_bytes(b"other")
    members = [(f"shard/{path.name}", path) for path in sorted((tmp_path / "small").iterdir())]
    archive.pack(tmp_path / "small.tar.gz", Header("embedded", {}, 1, "d", 1), members, overwrite=False)
    return tmp_path / "small.tar.gz"


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


@pytest.mark.parametrize("content", [b"text", gzip.compress(b"text"), b""])
def test_other_files_are_no_snapshots(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(StoreError, match="snapshot"):
        restore(tmp_path / "file", tmp_path / "back")
    with pytest.raises(StoreError, match="there is no file"):
        restore(tmp_path / "none", tmp_path / "back")
    assert not (tmp_path / "back").exists()
