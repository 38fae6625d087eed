"""A table of ids in constant memory, however many there are."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator


class IdTable:
    """Ids, each with a short value, in a temporary database that moves to disk as it grows.

    It is private to the process and deleted when it is closed. Not thread-safe, but usable from several threads.
    """

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("CREATE TABLE ids (id BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID")
        self._database.execute("BEGIN")

    def get(self, name: str) -> bytes | None:
        """Return the value of an id, or None."""
        row = self._database.execute("SELECT value FROM ids WHERE id = ?", (_key(name),)).fetchone()
        return None if row is None else bytes(row[0])

    def __setitem__(self, name: str, value: bytes) -> None:
        self._database.execute("REPLACE INTO ids VALUES (?, ?)", (_key(name), value))

    def items(self) -> Iterator[tuple[str, bytes]]:
        """Yield all ids and their values in the order of the ids."""
        for key, value in self._database.execute("SELECT id, value FROM ids ORDER BY id"):
            yield key.decode("utf-8", "surrogatepass"), value

    def __len__(self) -> int:
        return int(self._database.execute("SELECT count(*) FROM ids").fetchone()[0])

    def close(self) -> None:
        """Delete the table."""
        self._database.close()


def _key(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")
