"""Which ids a load has had: exact, and in constant memory however many they are."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Iterable, Sequence

from t1_vectorstore.indexing.chunk_documents import Piece
from t1_vectorstore.types import Chunk

_FAILED = b""


class Seen:
    """The ids of a source's documents and chunks, in a temporary database that moves to the disk when it is large.

    It is gone with the load, and nothing is resumed from it. Thread-safe.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Private, and deleted by whoever closes it.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("CREATE TABLE seen (id BLOB PRIMARY KEY, content BLOB) WITHOUT ROWID")
        self._database.execute("BEGIN")

    def add(self, pieces: Sequence[Piece]) -> bool:
        """Remember a document.

        Returns:
            Whether it is new: false when the very same document was there before.

        Raises:
            ValueError: another document has its id, or the id of one of its chunks.
        """
        name = pieces[0].origin.name
        ids = [_digest(taken) for taken in dict.fromkeys((name, *(piece.chunk.id for piece in pieces)))]
        content = _digest(*(piece.content_hash for piece in pieces), name)
        with self._lock:
            found = {self._content(key) for key in ids} - {None, _FAILED}
            if found == {content}:
                return False
            if found:
                raise ValueError("another document of this load has this id and came first; give each its own")
            self._database.executemany("REPLACE INTO seen VALUES (?, ?)", ((key, content) for key in ids))
            return True

    def add_failed(self, name: object) -> None:
        """Remember that the source has a document of this name, which cannot be stored as it is."""
        if isinstance(name, str):
            with self._lock:
                self._database.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (_digest(name), _FAILED))

    def refuse(self, name: str) -> None:
        """What was added under this name cannot be stored, after all."""
        with self._lock:
            self._database.execute("REPLACE INTO seen VALUES (?, ?)", (_digest(name), _FAILED))

    def wants(self, chunk: Chunk) -> bool:
        """Whether the source has a chunk of this id; all of a document that cannot be stored as it is are wanted."""
        with self._lock:
            document = self._content(_digest(chunk.document_id))
            return document is not None and document in (_FAILED, self._content(_digest(chunk.id)))

    def close(self) -> None:
        """Forget everything."""
        self._database.close()

    def _content(self, key: bytes) -> bytes | None:
        found = self._database.execute("SELECT content FROM seen WHERE id = ?", (key,)).fetchone()
        return None if found is None else bytes(found[0])


def _digest(*texts: str) -> bytes:
    """128 bits: among 10^12 ids, two that are taken for one have a chance of 10^-15."""
    digest = hashlib.blake2b(digest_size=16)
    for text in _utf8(texts):
        digest.update(len(text).to_bytes(8, "little") + text)
    return digest.digest()


def _utf8(texts: Iterable[str]) -> Iterable[bytes]:
    return (text.encode("utf-8", "surrogatepass") for text in texts)
