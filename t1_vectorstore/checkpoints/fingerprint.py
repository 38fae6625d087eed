"""Hashes of a checkpoint's files; large ones are sampled, so that a 4B model takes a fraction of a second."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from t1_vectorstore import __version__
from t1_vectorstore.disk_cache import DiskCache
from t1_vectorstore.errors import CheckpointError

WHOLE = 64 * 2**20
"""Files up to this size, in bytes, are hashed as a whole."""
_BLOCKS, _BLOCK = 16, 4096
"""Number and size in bytes of the samples of a tensor in a larger file. The weights of a norm are hashed as a whole."""

_SETTLED = 3 * 10**9
"""Nanoseconds for which files must be unchanged before their digest is stored."""


@dataclass(frozen=True)
class FileState:
    """What tells whether a file was changed or replaced since it was read.

    Attributes:
        size: Size in bytes.
        changed: Time of the last change, in nanoseconds.
        number: The file's number on its disk.
    """

    size: int
    changed: int
    number: int

    @classmethod
    def of(cls, file: Path) -> FileState:
        """Return a file's present state."""
        status = file.stat()
        return cls(status.st_size, status.st_mtime_ns, status.st_ino)


def cached_digest(kind: str, files: Sequence[Path], compute: Callable[[], bytes], cache: DiskCache | None) -> bytes:
    """Return a digest of files, from a cache if none of them has changed since it was computed.

    ``kind`` names the digest: one file can have several.

    A file counts as changed if its size, its number on its disk, or one of its times is another one: that of its
    content, and that of its entry, which no program can set back. Because a file can change twice within the resolution
    of these times, a digest is only stored once all changes are some seconds old.
    """
    if cache is None:
        return compute()
    states = _states(files)
    key = hashlib.sha256(repr(("digest", __version__, kind, states)).encode()).digest()
    found = cache.get(key, count=False)
    if found is not None:
        return found
    digest = compute()
    settled = all(max(changed[2:4]) < time.time_ns() - _SETTLED for changed in states)
    if states and settled and _states(files) == states:
        cache.put(key, digest)
    return digest


def _states(files: Sequence[Path]) -> list[tuple[str, int, int, int, int, int]]:
    """Return what tells whether files have changed; empty if one cannot be read, which ``file_digest`` reports."""
    try:
        found = [(str(file.resolve()), file.stat()) for file in files]
    except OSError:
        return []
    return [(path, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino, s.st_dev) for path, s in found]


def file_digest(file: Path) -> bytes:
    """Return the SHA-256 of a file; for a safetensors file above 64 MiB, of its header and of samples of each tensor.

    Any training changes samples of many tensors. A change by hand to a few rows of a large matrix can go unnoticed
    between the samples.

    Raises:
        CheckpointError: The file cannot be read.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            if size <= WHOLE:
                return hashlib.sha256(stream.read()).digest()
            length = int.from_bytes(stream.read(8), "little")
            header = stream.read(length)
            digest = hashlib.sha256(str(size).encode() + header)
            for block in samples(stream, _tensor_ranges(header, 8 + length)):
                digest.update(block)
            return digest.digest()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}") from error


def samples(stream: BinaryIO, ranges: Iterable[tuple[int, int]], *, whole: bool = False) -> Iterator[bytes]:
    """Read each range as a whole if it is small, else evenly spaced blocks of it, with the first and the last one.

    With ``whole``, every range is read as a whole.
    """
    for start, end in ranges:
        if whole or end - start <= _BLOCKS * _BLOCK:
            stream.seek(start)
            yield stream.read(end - start)
            continue
        for block in range(_BLOCKS):
            stream.seek(start + block * (end - start - _BLOCK) // (_BLOCKS - 1))
            yield stream.read(_BLOCK)


def _tensor_ranges(header: bytes, first: int) -> list[tuple[int, int]]:
    """Return start and end of each tensor in the file, in order."""
    entries = json.loads(header)
    return sorted((first + a, first + b) for a, b in (e["data_offsets"] for k, e in entries.items() if k[:2] != "__"))
