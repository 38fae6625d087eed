"""What a source says should be stored, kept on disk so that a source of any size is held against a collection."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from types import TracebackType

from t1_vectorstore.types import Chunk

_TABLES = """
CREATE TABLE chunk (id BLOB PRIMARY KEY, hash BLOB NOT NULL, found INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE TABLE document (id BLOB PRIMARY KEY) WITHOUT ROWID;
"""


class Ledger:
    """The chunks that are expected, each with its content hash, and which of them were found."""

    def __init__(self) -> None:
        """Start an empty one, in a temporary file that vanishes with it."""
        self._tables = sqlite3.connect("")
        self._tables.executescript(_TABLES)

    def expect(self, chunks: Sequence[Chunk]) -> bool:
        """Enter all chunks of one document.

        Returns:
            Whether they are there now: not where one of their ids is taken by other content, as a load keeps the first.
        """
        known = [self._hash(chunk.id) for chunk in chunks]
        if any(known):
            return known == [chunk.content_hash for chunk in chunks]
        rows = [(chunk.id.encode(), bytes.fromhex(chunk.content_hash)) for chunk in chunks]
        try:
            self._tables.execute("INSERT INTO document VALUES (?)", (chunks[0].document_id.encode(),))
        except sqlite3.IntegrityError:  # the same id, cut into other chunks
            return False
        self._tables.executemany("INSERT INTO chunk (id, hash) VALUES (?, ?)", rows)
        return True

    def find(self, chunk_id: str) -> str | None:
        """The content hash that is expected under an id, which counts as found from now on."""
        expected = self._hash(chunk_id)
        if expected is not None:
            self._tables.execute("UPDATE chunk SET found = 1 WHERE id = ?", (chunk_id.encode(),))
        return expected

    def has_document(self, document_id: str) -> bool:
        """Whether the source has a document of this id."""
        found = self._tables.execute("SELECT 1 FROM document WHERE id = ?", (document_id.encode(),))
        return found.fetchone() is not None

    def missing(self) -> Iterator[str]:
        """The ids that were not found, in order."""
        for (name,) in self._tables.execute("SELECT id FROM chunk WHERE NOT found ORDER BY id"):
            yield name.decode()

    def __len__(self) -> int:
        return int(self._tables.execute("SELECT count(*) FROM chunk").fetchone()[0])

    def __enter__(self) -> Ledger:
        """Forget everything at the end of a ``with`` block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Forget everything."""
        self._tables.close()

    def _hash(self, chunk_id: str) -> str | None:
        row = self._tables.execute("SELECT hash FROM chunk WHERE id = ?", (chunk_id.encode(),)).fetchone()
        return None if row is None else bytes(row[0]).hex()
