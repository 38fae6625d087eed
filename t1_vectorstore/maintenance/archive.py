"""A snapshot's file: a gzipped tar whose first member says what it is, and whose last member proves the others.

    t1-snapshot.json    kind, description, number of points and their digest
    shard/...           the engine's files (embedded), or collection.snapshot (server)
    checksums.json      size and SHA-256 of each; without it the file was cut off

Any tar program can read it. The engine's files are sparse: their holes take no room here, and none after unpacking.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from t1_vectorstore.errors import StoreError, StoreUnavailable

_HEADER, _CHECKSUMS = "t1-snapshot.json", "checksums.json"
_FORMAT = 1
_LEVEL = 1  # vectors hardly shrink, and holes vanish at any level
_BLOCK = 2**16
_ZEROS = bytes(_BLOCK)
_MOST_JSON = 16 * 2**20
_BROKEN = (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, ValueError, KeyError, TypeError)


@dataclass(frozen=True, slots=True)
class Header:
    """What a snapshot says about itself.

    Attributes:
        kind: ``embedded`` or ``server``.
        description: of the collection, as it keeps it itself.
        points: how many it held.
        digest: of all of them; ``None`` where they were written to meanwhile, so that nothing can be proven by it.
        bytes: that the files take on disk, holes not counted.
    """

    kind: str
    description: dict[str, Any]
    points: int
    digest: str | None
    bytes: int

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        names = ("kind", "description", "points", "digest", "bytes")
        return {"format": _FORMAT, **{name: getattr(self, name) for name in names}}


def pack(file: Path, header: Header, members: Iterable[tuple[str, Path]], *, overwrite: bool) -> None:
    """Write a snapshot; the file appears when it is complete.

    Args:
        file: where to.
        header: comes first.
        members: names inside, and the files and folders that are packed under them.
        overwrite: replace a file that is there.

    Raises:
        ValueError: there is such a file.
        StoreUnavailable: it cannot be written.
    """
    check_free(file, overwrite=overwrite)
    unfinished = file.with_name(f"{file.name}.part")
    try:
        with unfinished.open("wb") as raw:
            with tarfile.open(fileobj=raw, mode="w:gz", compresslevel=_LEVEL) as tar:
                _add_json(tar, _HEADER, header.to_json())
                _add_json(tar, _CHECKSUMS, {name: _add(tar, name, path) for name, path in members})
            raw.flush()
            os.fsync(raw.fileno())
        unfinished.replace(file)
    except OSError as error:
        raise StoreUnavailable(f"cannot write {file}: {error.strerror or error}") from error
    finally:
        unfinished.unlink(missing_ok=True)


def check_free(file: Path, *, overwrite: bool) -> None:
    """Refuse to write over a file, or where there is no folder.

    Raises:
        ValueError: see there.
    """
    if file.is_dir() or (file.exists() and not overwrite):
        raise ValueError(f"{file} exists; choose another name, or overwrite it (--overwrite)")
    if not file.parent.is_dir():
        raise ValueError(f"there is no folder {file.parent} to write {file.name} into")


def read_header(file: Path) -> Header:
    """What a snapshot says about itself.

    Raises:
        StoreError: it is no snapshot, or one of a later version.
    """
    with _reading(file) as tar:
        return _header(tar, file)


def unpack(file: Path, folder: Path, *, inside: str = "") -> Header:
    """Unpack a snapshot into an empty folder; every byte is proven when this returns.

    Args:
        file: the snapshot.
        folder: where to.
        inside: the folder in the snapshot that becomes ``folder``.

    Raises:
        StoreError: the snapshot is damaged, cut off, or wants to write elsewhere. The folder is not to be used then.
        StoreUnavailable: the folder cannot be written to, or its disk is too small.
    """
    found: dict[str, list[Any]] = {}
    checksums: dict[str, list[Any]] | None = None
    with _reading(file) as tar:
        header = _header(tar, file)
        if (free := shutil.disk_usage(folder).free) < header.bytes:
            raise StoreUnavailable(
                f"the disk of {folder} is too small: {free // 2**20} MiB are left and {header.bytes // 2**20 + 1} MiB "
                "are needed"
            )
        while (member := tar.next()) is not None:
            if checksums is not None:
                raise StoreError(f"{file} goes on behind its end ({member.name!r}); it is no snapshot of this package")
            if member.name == _CHECKSUMS:
                checksums = dict(_json(tar, member))
            else:
                found[member.name] = _extract(tar, member, folder, inside, file)
    if checksums is None:
        raise StoreError(f"{file} was cut off: its end is missing; copy or make it again")
    if wrong := sorted(name for name in checksums.keys() | found.keys() if checksums.get(name) != found.get(name)):
        raise StoreError(f"{file} is damaged: {wrong[0]!r} is not what was packed; copy or make it again")
    return header


@contextmanager
def _reading(file: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(file, "r|gz") as tar:
            yield tar
    except FileNotFoundError:
        raise StoreError(f"there is no file {file}") from None
    except _BROKEN as error:
        raise StoreError(f"{file} is no snapshot, or is damaged or cut off ({error}); copy or make it again") from error
    except OSError as error:
        raise StoreUnavailable(f"cannot unpack {file}: {error.strerror or error}") from error


def _header(tar: tarfile.TarFile, file: Path) -> Header:
    member = tar.next()
    if member is None or member.name != _HEADER:
        raise StoreError(f"{file} is no snapshot of this package: it does not begin with {_HEADER}")
    record = _json(tar, member)
    if record["format"] > _FORMAT:
        raise StoreError(f"{file} has format {record['format']}, this version reads {_FORMAT}; upgrade t1-vectorstore")
    digest = record["digest"]
    return Header(
        kind=str(record["kind"]),
        description=dict(record["description"]),
        points=int(record["points"]),
        digest=None if digest is None else str(digest),
        bytes=int(record["bytes"]),
    )


def _add_json(tar: tarfile.TarFile, name: str, value: Any) -> None:  # noqa: ANN401 - anything JSON
    content = json.dumps(value, indent=1).encode()
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _add(tar: tarfile.TarFile, name: str, path: Path) -> list[Any]:
    """Add a file or an empty folder; returns its size and digest."""
    member = tarfile.TarInfo(name)
    if path.is_dir():
        member.type = tarfile.DIRTYPE
        tar.addfile(member)
        return [0, ""]
    with path.open("rb") as source:
        member.size = os.fstat(source.fileno()).st_size
        hashing = _Hashing(source)
        tar.addfile(member, hashing)
    return [member.size, hashing.digest.hexdigest()]


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path, inside: str, file: Path) -> list[Any]:
    path = PurePosixPath(member.name)
    if not path.is_relative_to(inside) or not all(map(_plain, path.parts)):
        raise StoreError(f"{file} wants to write to {member.name!r}, outside its folder; it is not to be trusted")
    target = folder / path.relative_to(inside)
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return [0, ""]
    source = tar.extractfile(member) if member.isreg() else None
    if source is None:
        raise StoreError(f"{file} has {member.name!r}, which is neither a file nor a folder; it is not to be trusted")
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with target.open("xb") as written:
        while block := source.read(_BLOCK):
            digest.update(block)
            if block == _ZEROS[: len(block)]:
                written.seek(len(block), os.SEEK_CUR)
            else:
                written.write(block)
        written.truncate(member.size)
        written.flush()
        os.fsync(written.fileno())
    return [member.size, digest.hexdigest()]


def _plain(part: str) -> bool:
    """Whether a part of a path is a mere name on every system."""
    return part not in ("", ".", "..", "/") and not set(part) & set("\\:\0")


def _json(tar: tarfile.TarFile, member: tarfile.TarInfo) -> dict[str, Any]:
    source = tar.extractfile(member)
    if source is None or member.size > _MOST_JSON:
        raise ValueError(f"{member.name} cannot be read")
    return dict(json.loads(source.read()))


class _Hashing:
    """A file that is hashed as it is read."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        block = self._source.read(size)
        self.digest.update(block)
        return block
