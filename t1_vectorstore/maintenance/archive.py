"""The file format of a snapshot: a gzipped tar, whose last member has the checksums of the others.

    t1-snapshot.json    kind, description, number of points and their digest
    shard/...           files of the embedded engine, or collection.snapshot of a server
    checksums.json      size and SHA-256 of each file; a snapshot without it is incomplete

Any tar program can read it. The engine's files are sparse: their holes need no space, in the snapshot or when unpacked.
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
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from t1_vectorstore.errors import StoreError, StoreUnavailable

_HEADER, _CHECKSUMS = "t1-snapshot.json", "checksums.json"
_FORMAT = 1
_COMPRESS_LEVEL = 1  # vectors hardly compress, and holes do at any level
_BLOCK = 2**16
_ZEROS = bytes(_BLOCK)
_MAX_JSON_BYTES = 16 * 2**20
_FORMAT_ERRORS = (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, ValueError, KeyError, TypeError)


@dataclass(frozen=True, slots=True)
class Header:
    """Description of a snapshot, its first member.

    Attributes:
        kind: ``embedded`` or ``server``.
        description: The collection's own description.
        points: Number of points.
        digest: Digest of all points; ``None`` if points were written during the snapshot, so that none can be computed.
        bytes: Disk space of the files in bytes, without holes.
    """

    kind: str
    description: dict[str, Any]
    points: int
    digest: str | None
    bytes: int


def pack(file: Path, header: Header, members: Iterable[tuple[str, Path]], *, overwrite: bool) -> None:
    """Write a snapshot of ``members``, names with files or folders. The file appears when it is complete.

    Raises:
        ValueError: The file exists and is not to be overwritten, or its folder does not exist.
        StoreUnavailable: The file cannot be written.
    """
    check_free(file, overwrite=overwrite)
    unfinished = file.with_name(f"{file.name}.part")
    try:
        with unfinished.open("wb") as raw:
            with tarfile.open(fileobj=raw, mode="w:gz", compresslevel=_COMPRESS_LEVEL) as tar:
                _add_json(tar, _HEADER, {"format": _FORMAT, **asdict(header)})
                _add_json(tar, _CHECKSUMS, {name: _add(tar, name, path) for name, path in members})
            raw.flush()
            os.fsync(raw.fileno())
        unfinished.replace(file)
    except OSError as error:
        raise StoreUnavailable(f"cannot write {file}: {error.strerror or error}") from error
    finally:
        unfinished.unlink(missing_ok=True)


def check_free(file: Path, *, overwrite: bool) -> None:
    """Raise ``ValueError`` if the file exists and is not to be overwritten, or if its folder does not exist."""
    if file.is_dir() or (file.exists() and not overwrite):
        raise ValueError(f"{file} exists; choose another name, or overwrite it (--overwrite)")
    if not file.parent.is_dir():
        raise ValueError(f"there is no folder {file.parent} to write {file.name} into")


def read_header(file: Path) -> Header:
    """Read the description of a snapshot.

    Raises:
        StoreError: The file is not a snapshot, or one of a later version.
    """
    with _open_tar(file) as tar:
        return _read_header(tar, file)


def unpack(file: Path, folder: Path, *, inside: str = "") -> Header:
    """Unpack a snapshot, or its folder ``inside``, into an empty folder, and compare every file with its checksum.

    Raises:
        StoreError: The snapshot is damaged or incomplete, or has a path outside the folder. Do not use the folder then.
        StoreUnavailable: The folder cannot be written to, or its disk is too small.
    """
    unpacked: dict[str, list[Any]] = {}
    checksums: dict[str, list[Any]] | None = None
    with _open_tar(file) as tar:
        # 1. The description, which says how much space the files need.
        header = _read_header(tar, file)
        if (free := shutil.disk_usage(folder).free) < header.bytes:
            raise StoreUnavailable(
                f"the disk of {folder} is too small: {free // 2**20} MiB are left and {header.bytes // 2**20 + 1} MiB "
                "are needed"
            )
        # 2. The files. The checksums are the last member, so nothing may come after them.
        while (member := tar.next()) is not None:
            if checksums is not None:
                raise StoreError(f"{file} continues after its end ({member.name!r}); this package did not write it")
            if member.name == _CHECKSUMS:
                checksums = _read_json(tar, member)
            else:
                unpacked[member.name] = _extract(tar, member, folder, inside, file)
    # 3. Compare: a file that is missing, superfluous or different.
    if checksums is None:
        raise StoreError(f"{file} is incomplete: its end is missing; copy or make it again")
    names = checksums.keys() | unpacked.keys()
    if wrong := sorted(name for name in names if checksums.get(name) != unpacked.get(name)):
        raise StoreError(f"{file} is damaged: {wrong[0]!r} does not match its checksum; copy or make it again")
    return header


@contextmanager
def _open_tar(file: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(file, "r|gz") as tar:
            yield tar
    except FileNotFoundError:
        raise StoreError(f"there is no file {file}") from None
    except _FORMAT_ERRORS as error:
        raise StoreError(
            f"{file} is not a snapshot, or damaged or incomplete ({error}); copy or make it again"
        ) from error
    except OSError as error:
        raise StoreUnavailable(f"cannot unpack {file}: {error.strerror or error}") from error


def _read_header(tar: tarfile.TarFile, file: Path) -> Header:
    member = tar.next()
    if member is None or member.name != _HEADER:
        raise StoreError(f"{file} is not a snapshot of this package: it does not begin with {_HEADER}")
    record = _read_json(tar, member)
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


def _read_json(tar: tarfile.TarFile, member: tarfile.TarInfo) -> dict[str, Any]:
    source = tar.extractfile(member)
    if source is None or member.size > _MAX_JSON_BYTES:
        raise ValueError(f"{member.name} cannot be read")
    return dict(json.loads(source.read()))


def _add_json(tar: tarfile.TarFile, name: str, value: dict[str, Any]) -> None:
    content = json.dumps(value, indent=1).encode()
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _add(tar: tarfile.TarFile, name: str, path: Path) -> list[Any]:
    """Add a file or an empty folder, and return its size and digest."""
    member = tarfile.TarInfo(name)
    if path.is_dir():
        member.type = tarfile.DIRTYPE
        tar.addfile(member)
        return [0, ""]
    with path.open("rb") as source:
        member.size = os.fstat(source.fileno()).st_size
        hashed = _HashedReader(source)
        tar.addfile(member, hashed)
    return [member.size, hashed.digest.hexdigest()]


class _HashedReader:
    """A file whose content is hashed while it is read."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        block = self._source.read(size)
        self.digest.update(block)
        return block


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path, inside: str, file: Path) -> list[Any]:
    """Write a member below ``folder``, with holes for blocks of zeros, and return its size and digest."""
    path = PurePosixPath(member.name)
    if not path.is_relative_to(inside) or not all(map(_is_plain_name, path.parts)):
        raise StoreError(f"{file} has {member.name!r}, a path outside its folder; do not trust it")
    target = folder / path.relative_to(inside)
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return [0, ""]
    source = tar.extractfile(member) if member.isreg() else None
    if source is None:
        raise StoreError(f"{file} has {member.name!r}, which is neither a file nor a folder; do not trust it")
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


def _is_plain_name(part: str) -> bool:
    """Return whether a part of a path is a mere name on every operating system."""
    return part not in ("", ".", "..", "/") and not set(part) & set("\\:\0")
