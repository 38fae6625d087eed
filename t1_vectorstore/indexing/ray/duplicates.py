"""Ids that stand in more than one shard: no worker can see them, so the driver compares."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable

from t1_vectorstore.indexing import Failure, LoadReport


class Duplicates:
    """All ids of a load, each with its document's digest, in a temporary database. For use in one thread."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)  # private, and on the disk once it is large
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("CREATE TABLE shards (name TEXT)")
        self._database.execute("CREATE TABLE seen (id BLOB PRIMARY KEY, content BLOB, shard INTEGER) WITHOUT ROWID")
        self._database.execute("BEGIN")

    def add(self, shard: str, documents: Iterable[tuple[str, bytes]]) -> LoadReport:
        """Compare a shard with those before it.

        Args:
            shard: its name.
            documents: id and digest of each document. What is twice in one shard its worker has seen.

        Returns:
            What is to be added to the load's report.
        """
        number = self._database.execute("INSERT INTO shards VALUES (?)", (shard,)).lastrowid
        repeated = 0
        failures: list[Failure] = []
        for name, content in dict(reversed(list(documents))).items():  # of several, the first is the one stored
            key = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()
            found = self._database.execute(
                "SELECT content, name FROM seen JOIN shards ON shards.rowid = shard WHERE id = ?", (key,)
            ).fetchone()
            if found is None:
                self._database.execute("INSERT INTO seen VALUES (?, ?, ?)", (key, content, number))
            elif found[0] == content:
                repeated += 1
            else:
                reason = f"{shard} and {found[1]} have different documents of this id, and either may be stored now"
                failures.append(Failure(name, f"{reason}; give each its own id and load them again"))
        return LoadReport(repeated=repeated, failed=len(failures), failures=tuple(failures))

    def close(self) -> None:
        """Forget everything."""
        self._database.close()
