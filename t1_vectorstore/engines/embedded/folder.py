"""The folder of an embedded index: its lock, its description, and its creation in steps that survive a crash.

    lock        locked (flock) by the process that has the index open; contains its pid, for people
    changes     locked while that process changes the files, and (shared) while another one copies them to read them
    t1.json     the description: model, fingerprint, dimension, payload keys
    shard/      the engine's files; after they were replaced (``builds.py``, ``optimize.py``), the description says
                under "shard" where they are

Creation fills ``shard.new``, writes ``t1.json`` atomically and then renames ``shard.new`` to ``shard``. So the files
that exist show how far a creation got before a crash: without ``t1.json`` it starts again; with ``t1.json`` and
``shard.new`` only the renaming is left to do.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any, TypeAlias

from t1_vectorstore.engines.embedded.locks import lock, release, wait_for
from t1_vectorstore.engines.schema import Schema
from t1_vectorstore.errors import CollectionNotFound, StoreError, StoreUnavailable
from t1_vectorstore.forks import ForkSafeLock

LOCK, CHANGES, _DESCRIPTION, SHARD = "lock", "changes", "t1.json", "shard"
SHARD_KEY = "shard"
"""The description's key of the path of the engine's files, relative to the folder."""
_NEW_SHARD, _NEW_DESCRIPTION = "shard.new", "t1.json.new"
MIB = 2**20
SPACE_TO_OPEN = 16 * MIB
_SPACE_TO_WRITE = 64 * MIB
FolderKey: TypeAlias = tuple[int, int]
"""Device and inode of an index's lock file: the same for every path to the folder, and new if the folder is new."""
_UNFINISHED = {LOCK, CHANGES, _NEW_SHARD, _NEW_DESCRIPTION}


class IndexFolder:
    """A locked index folder; until ``close`` no other process can open it."""

    def __init__(self, path: Path, *, create: bool) -> None:
        """Lock the folder, which must be an index, or with ``create`` be empty or new.

        Raises:
            CollectionNotFound: There is no index, and ``create`` is off or the folder has other files.
            CollectionLocked: Another process has it open, or this one.
            StoreUnavailable: The folder is not writable.
        """
        self.path = path
        self._shard = SHARD
        self.key: FolderKey | None = None
        self._changing, self._nested_changes = ForkSafeLock(reentrant=True), 0
        try:
            self._check(create)
            path.mkdir(parents=True, exist_ok=True)
            self.check_space()
            self._lock = lock(path / LOCK)
            self._changes = (path / CHANGES).open("ab")
            self.key = _key(os.fstat(self._lock.fileno()))
        except OSError as error:
            raise StoreUnavailable(
                f"cannot open an index in {path}: {error.strerror or error}; opening writes a lock file; to "
                "read it only, open it with read_only=True (--read-only), or copy it to a folder that is writable"
            ) from error

    def _check(self, create: bool) -> None:
        if not self.path.exists():
            if not create:
                raise CollectionNotFound(f"there is no index at {self.path}")
            return
        if not self.path.is_dir():
            raise CollectionNotFound(f"{self.path} is a file; an index is a folder")
        if (self.path / _DESCRIPTION).exists():
            return
        others = sorted(entry.name for entry in self.path.iterdir() if entry.name not in _UNFINISHED)
        if others and not create:
            raise CollectionNotFound(f"{self.path} is not an index: it has no {_DESCRIPTION}")
        if others:
            raise CollectionNotFound(
                f"{self.path} is not an index (it has no {_DESCRIPTION}) and not empty (it has {others[0]!r}); "
                "give an empty or a new folder"
            )
        if not create:
            raise CollectionNotFound(f"there is no index in {self.path}")

    @staticmethod
    def key_of(path: Path) -> FolderKey | None:
        """Return the key of the index in a folder, open or not; ``None`` if there is none."""
        try:
            return _key((path / LOCK).stat())
        except OSError:
            return None

    @property
    def shard(self) -> Path:
        """The folder of the engine's files."""
        return self.path / self._shard

    def own_record(self) -> dict[str, Any]:
        """Read the description; see ``read_record``."""
        return self.read_record(self.path)

    @staticmethod
    def read_record(path: Path) -> dict[str, Any]:
        """Read the description in a folder, locked or not.

        Raises:
            StoreError: It cannot be read.
        """
        file = path / _DESCRIPTION
        try:
            record: dict[str, Any] = dict(json.loads(file.read_text("utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise StoreError(f"{file} cannot be read ({error}); restore it, or index again elsewhere") from error
        return record

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Replace the description, atomically."""
        try:
            with self.changing():
                replace_record(self.path, record)
        except OSError as error:
            raise StoreUnavailable(f"cannot write in {self.path}: {error.strerror or error}") from error

    def load_schema(self, *, complete: bool = True) -> Schema | None:
        """Read the description, and find the engine's files; ``None`` if an index is still to be created.

        Args:
            complete: Complete a creation that a crash has interrupted; otherwise it is an error.

        Raises:
            StoreError: The description or the engine's files are damaged or missing.
        """
        file = self.path / _DESCRIPTION
        if not file.exists():
            return None
        record = self.own_record()
        schema = Schema.from_json(record, str(file))
        self.find_shard(record, complete=complete)
        return schema

    def find_shard(self, record: Mapping[str, Any], *, complete: bool = True) -> None:
        """Set ``shard`` to the engine's files that a description names; arguments and errors as in ``load_schema``."""
        self._shard = shard_of(record)
        if PurePath(self._shard).is_absolute() or ".." in PurePath(self._shard).parts:
            file = self.path / _DESCRIPTION
            raise StoreError(f"{file} names the shard {self._shard!r}, which is not inside its folder; restore it")
        if not (shard := self.path / self._shard).exists():
            unfinished = self.path / _NEW_SHARD
            if not complete or self._shard != SHARD or not unfinished.exists():
                raise StoreError(
                    f"{self.path} has lost its {self._shard!r} folder; restore it, or index again elsewhere"
                )
            unfinished.rename(shard)

    def create(self, schema: Schema, fill: Callable[[Path], None]) -> None:
        """Create an index; ``fill`` writes the engine's empty files into a folder."""
        unfinished = self.path / _NEW_SHARD
        try:
            # 1. The engine's empty files, beside their final place. Those of an interrupted creation have no points.
            if unfinished.exists():
                shutil.rmtree(unfinished)
            unfinished.mkdir()
            try:
                fill(unfinished)
            except BaseException:
                shutil.rmtree(unfinished, ignore_errors=True)
                raise
            # 2. The description: from here on, opening the folder completes the creation.
            replace_record(self.path, schema.to_json())
            # 3. The files' final place.
            unfinished.rename(self.shard)
            _sync_folder(self.path)
        except OSError as error:
            raise StoreUnavailable(f"cannot create an index in {self.path}: {error.strerror or error}") from error

    def check_space(self, growth: int | None = None) -> None:
        """Stop before the disk is full: the engine's files are mapped and sparse, so a full disk kills the process.

        Args:
            growth: Number of bytes to be written; ``None`` to read only.

        Raises:
            StoreUnavailable: Too little space is left on the disk.
        """
        need = (
            SPACE_TO_OPEN if growth is None else _SPACE_TO_WRITE + 4 * growth
        )  # log and place take twice as much; twice that is safe
        free = shutil.disk_usage(self.path).free
        if free < need:
            raise StoreUnavailable(
                f"the disk of {self.path} is full: {free // MIB} MiB are left and {need // MIB + 1} MiB are needed; "
                "free some space and try again"
            )

    def disk_bytes(self) -> int:
        """Return the number of bytes used on disk; the engine's files are sparse, and their sizes are larger."""
        return disk_bytes(self.path)

    def close(self) -> None:
        """Release the lock. In a forked child this closes the child's copy only; the parent keeps the lock."""
        self._lock.close()
        self._changes.close()

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Change the engine's files or the description within the block; other processes do not copy them meanwhile."""
        with self._changing:
            self._nested_changes += 1
            try:
                if self._nested_changes == 1:
                    wait_for(self._changes, shared=False)
                yield
            finally:
                self._nested_changes -= 1
                if not self._nested_changes and not self._changes.closed:
                    release(self._changes)


def shard_of(record: Mapping[str, Any]) -> str:
    """Return the path of the engine's files that a description names, relative to its folder."""
    return str(record.get(SHARD_KEY, SHARD))


def disk_bytes(path: Path) -> int:
    """Return the number of bytes that a folder uses on disk; sparse files use less than their sizes."""
    used = 0.0
    for folder, _, files in os.walk(path):
        for name in files:
            try:
                found = os.stat(os.path.join(folder, name))  # noqa: PTH116, PTH118 - as os.walk has it
            except FileNotFoundError:  # the engine has replaced it
                continue
            used += getattr(found, "st_blocks", found.st_size / 512) * 512
    return int(used)


def _key(status: os.stat_result) -> FolderKey:
    return status.st_dev, status.st_ino


def replace_record(path: Path, record: Mapping[str, Any]) -> None:
    """Replace the description in a folder, atomically."""
    temporary = path / _NEW_DESCRIPTION
    with temporary.open("w", encoding="utf-8") as handle:
        json.dump(record, handle, indent=2, ensure_ascii=False)
        handle.write("\n")
        handle.flush()
        os.fsync(handle.fileno())
    temporary.replace(path / _DESCRIPTION)
    _sync_folder(path)


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power failure, where the system can do that."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
