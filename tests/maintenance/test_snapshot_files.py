"""An incomplete, damaged or forged snapshot file is refused."""

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
from tests.maintenance.snapshots import is_equal, repacked


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Return a snapshot of two small files."""
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


def with_path(name: str) -> Callable[[tarfile.TarInfo, bytes], tuple[tarfile.TarInfo, bytes]]:
    def change(member: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
        if member.name.endswith("page_0.dat"):
            member.name = name
        return member, content

    return change


def as_link(member: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
    if member.name.endswith("page_0.dat"):
        member.type, member.linkname, content = tarfile.SYMTYPE, "/etc/passwd", b""
    return member, content


def with_other_point_count(member: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
    if member.name == "t1-snapshot.json":
        content = json.dumps(json.loads(content) | {"points": 7}).encode()
    return member, content


def with_later_format(member: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
    if member.name == "t1-snapshot.json":
        content = json.dumps(json.loads(content) | {"format": 9}).encode()
    return member, content


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (damaged, "is damaged"),
        (without_end, "is incomplete"),
        (without_a_file, "is damaged"),
        (with_path("../../outside"), "outside its folder"),
        (with_path("/outside"), "outside its folder"),
        (with_path("shard/..\\outside"), "outside its folder"),
        (as_link, "neither a file nor a folder"),
        (with_later_format, "upgrade"),
    ],
)
def test_changed_members_are_refused(small: Path, tmp_path: Path, change: Any, message: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(StoreError, match=message):
        archive.unpack(repacked(small, tmp_path / "repacked.tar.gz", change), out, inside="shard")
    assert not list(tmp_path.rglob("*outside*"))


def test_other_points_than_the_saved_ones_are_reported(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="does not hold what was saved: 60 points instead of 7"):
        restore(repacked(saved, tmp_path / "repacked.tar.gz", with_other_point_count), tmp_path / "back")


@pytest.mark.parametrize("kept", [0, 10, 0.3, 0.9, -100])
def test_an_incomplete_file_is_refused(small: Path, tmp_path: Path, kept: float) -> None:
    content = small.read_bytes()
    part = tmp_path / "part.tar.gz"
    part.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    (tmp_path / "out").mkdir()
    with pytest.raises(StoreError, match=r"damaged|incomplete|does not begin"):
        archive.unpack(part, tmp_path / "out", inside="shard")


def test_a_complete_file_is_restored_after_a_part_was_refused(saved: Path, tmp_path: Path) -> None:
    part = tmp_path / "part.tar.gz"
    part.write_bytes(saved.read_bytes()[:-600])
    with pytest.raises(StoreError, match=r"damaged|incomplete"):
        restore(part, tmp_path / "back")
    restore(saved, tmp_path / "back")
    with Collection.open(tmp_path / "back") as back:
        assert is_equal(back)


@pytest.mark.parametrize("content", [b"text", gzip.compress(b"text", mtime=0), b""])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(StoreError, match="snapshot"):
        restore(tmp_path / "file", tmp_path / "back")
    with pytest.raises(StoreError, match="there is no file"):
        restore(tmp_path / "none", tmp_path / "back")
    assert not (tmp_path / "back").exists()
