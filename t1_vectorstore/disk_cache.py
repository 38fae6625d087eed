"""A bounded cache of bytes on disk, which several processes may use at once.

It is one SQLite database in a folder that only its owner can read. Whatever is wrong with it, a read finds nothing and
a write is left out: a cache never fails a search. Each value is stored with a checksum of its key and itself, so that a
damaged or foreign value is not found. Nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

from t1_vectorstore.errors import CacheWarning, external_stacklevel
from t1_vectorstore.forks import ForkSafeLock, renew_after_fork

FILE = "cache-1.sqlite3"
"""Name of the database. A version that stores other tables gets another name."""
_APPLICATION = 0x54314341  # "T1CA", which SQLite writes into the file's header
_CHECKSUM = 16
_WAIT = 1.0  # seconds for other processes
_FRESH = 60.0  # a use this many seconds after the last one is not recorded
_TABLES = """
CREATE TABLE IF NOT EXISTS entries (key BLOB PRIMARY KEY, value BLOB NOT NULL, used REAL NOT NULL);
CREATE INDEX IF NOT EXISTS entries_by_use ON entries (used);
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, number INTEGER NOT NULL);
INSERT OR IGNORE INTO counters VALUES ('hits', 0), ('misses', 0);
"""


@dataclass(frozen=True, slots=True)
class CacheInfo:
    """What a cache holds.

    Attributes:
        file: The database.
        entries: Number of entries.
        bytes: Bytes that they use.
        hits: Number of lookups that found an entry, by all processes since the cache was cleared.
        misses: Number of lookups that found none.
    """

    file: str
    entries: int
    bytes: int
    hits: int
    misses: int


class DiskCache:
    """Bytes by key. Safe for threads, for several processes, and after a fork."""

    def __init__(self, folder: Path, size: int) -> None:
        """Use a folder, which is created when something is stored.

        Args:
            folder: The folder; a new one is readable only by its owner.
            size: Bytes that the entries may use. Beyond it, those that were used least recently are deleted.
        """
        self.folder, self.size = folder, size
        self._lock = ForkSafeLock()
        self._database: sqlite3.Connection | None = None
        self._of_parent: list[sqlite3.Connection | None] = []
        self._warned = False
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Leave the parent's connection alone, and open an own one."""
        self._of_parent.append(self._database)  # closing it here would release the parent's locks
        self._database = None

    @property
    def file(self) -> Path:
        """The database."""
        return self.folder / FILE

    def get(self, key: bytes, *, count: bool = True) -> bytes | None:
        """Return the value of a key; ``None`` if there is none.

        Args:
            key: The key.
            count: Whether this is one of the lookups that ``info`` counts.
        """
        with self._lock:
            try:
                if self._database is None and not self.file.exists():
                    return None
                database = self._open()
                row = database.execute("SELECT value, used FROM entries WHERE key = ?", (key,)).fetchone()
                value = _verified(key, row[0]) if row else None
                self._note_use(database, key, row[1] if value is not None else None, count=count)
            except (sqlite3.Error, OSError) as error:
                self._give_up(error)
                return None
            return value

    def put(self, key: bytes, value: bytes) -> None:
        """Store a value, unless it is larger than a quarter of the cache."""
        if len(value) > self.size // 4:
            return
        with self._lock:
            try:
                database = self._open()
                row = (key, _checksum(key, value) + value, time.time())
                database.execute("INSERT OR REPLACE INTO entries VALUES (?, ?, ?)", row)
                while _used_bytes(database) > self.size:
                    some = "SELECT key FROM entries ORDER BY used LIMIT (SELECT 1 + count(*) / 10 FROM entries)"
                    if not database.execute(f"DELETE FROM entries WHERE key IN ({some})").rowcount:  # noqa: S608
                        break
            except (sqlite3.Error, OSError) as error:
                self._give_up(error)

    def info(self) -> CacheInfo:
        """Describe the cache."""
        with self._lock:
            try:
                if not self.file.exists():
                    return CacheInfo(str(self.file), 0, 0, 0, 0)
                database = self._open()
                [entries] = database.execute("SELECT count(*) FROM entries").fetchone()
                counters = dict(database.execute("SELECT name, number FROM counters"))
                return CacheInfo(
                    str(self.file), entries, _used_bytes(database), counters.get("hits", 0), counters.get("misses", 0)
                )
            except (sqlite3.Error, OSError) as error:
                self._give_up(error)
                return CacheInfo(str(self.file), 0, 0, 0, 0)

    def clear(self) -> int:
        """Delete all entries, and return how many there were. Other processes may go on using the cache.

        Raises:
            OSError: The file is damaged and cannot be deleted.
        """
        entries = self.info().entries
        with self._lock:
            try:
                if self.file.exists():
                    database = self._open()
                    database.execute("DELETE FROM entries")
                    database.execute("UPDATE counters SET number = 0")
                    database.execute("VACUUM")
            except sqlite3.Error:
                self._close()
                self.file.unlink(missing_ok=True)
        return entries

    def close(self) -> None:
        """Close the database. It is opened again if it is used."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def _open(self) -> sqlite3.Connection:
        if self._database is not None:
            return self._database
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(self.file, os.O_CREAT | os.O_RDWR, 0o600))
        database = sqlite3.connect(self.file, timeout=_WAIT, isolation_level=None, check_same_thread=False)
        try:
            [application] = database.execute("PRAGMA application_id").fetchone()
            [tables] = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if application != _APPLICATION and tables:
                raise sqlite3.OperationalError(f"{self.file} is another program's database")
            # A cache that the machine's crash damages is made again, so nothing waits for the disk.
            database.execute("PRAGMA synchronous = OFF")
            if not tables:
                database.execute(f"PRAGMA application_id = {_APPLICATION}")
                database.executescript(f"BEGIN IMMEDIATE; {_TABLES} COMMIT;")
        except BaseException:
            database.close()
            raise
        self._database = database
        return database

    def _note_use(self, database: sqlite3.Connection, key: bytes, used: float | None, *, count: bool) -> None:
        """Record when an entry was used, and whether a lookup found one; left out while others write."""
        now = time.time()
        try:
            if used is not None and abs(now - used) > _FRESH:
                database.execute("UPDATE entries SET used = ? WHERE key = ?", (now, key))
            if count:
                name = "misses" if used is None else "hits"
                database.execute("UPDATE counters SET number = number + 1 WHERE name = ?", (name,))
        except sqlite3.OperationalError:  # locked, or on a file system that is read-only
            return

    def _give_up(self, error: Exception) -> None:
        """Go on without the cache after an error; delete a damaged file, so that the next call makes a new one."""
        self._close()
        if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
            try:
                self.file.unlink(missing_ok=True)
            except OSError as failure:
                error = failure
            else:
                return
        if not self._warned:
            self._warned = True
            message = f"the cache {self.file} is not used: {error}"
            warnings.warn(message, CacheWarning, stacklevel=external_stacklevel())


def _checksum(key: bytes, value: bytes) -> bytes:
    return hashlib.blake2b(key + value, digest_size=_CHECKSUM).digest()


def _verified(key: bytes, stored: object) -> bytes | None:
    """Return a stored value without its checksum; ``None`` if it is not what was stored under this key."""
    if not isinstance(stored, bytes):
        return None
    value = stored[_CHECKSUM:]
    return value if stored[:_CHECKSUM] == _checksum(key, value) else None


def _used_bytes(database: sqlite3.Connection) -> int:
    """Return the bytes of all pages that are in use; those of deleted entries are used again."""
    pages, free, size = (
        database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)
