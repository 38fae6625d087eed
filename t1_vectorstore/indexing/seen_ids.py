"""The ids that a load has read: exact, and in constant memory."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence

from t1_vectorstore.indexing.chunk_documents import PendingChunk
from t1_vectorstore.indexing.id_table import IdTable
from t1_vectorstore.types import Chunk

_FAILED = b""


class SeenIds:
    """The ids of a source's documents and chunks. They exist only during the load. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ids = IdTable()  # each id with a digest of its document's content

    def add(self, chunks: Sequence[PendingChunk]) -> bool:
        """Add a document.

        Returns:
            Whether it is new; false if an equal document was added before.

        Raises:
            ValueError: Another document has its id, or the id of one of its chunks.
        """
        document_id = chunks[0].source.id
        ids = {document_id, *(pending.chunk.id for pending in chunks)}
        content = _digest(document_id, chunks)
        with self._lock:
            found = {self._ids.get(name) for name in ids} - {None, _FAILED}
            if found == {content}:
                return False
            if found:
                raise ValueError(
                    "another document of this load has this id and came first; give each its own (the id of a file is "
                    "its path in the folder that is indexed: rename a file, or index the folder that contains both)"
                )
            for name in ids:
                self._ids[name] = content
            return True

    def add_failed(self, document_id: object) -> None:
        """Add the id of a document that cannot be stored, unless the id is known already."""
        if isinstance(document_id, str):
            with self._lock:
                if self._ids.get(document_id) is None:
                    self._ids[document_id] = _FAILED

    def mark_failed(self, document_id: str) -> None:
        """Note that a document which was added cannot be stored after all."""
        with self._lock:
            self._ids[document_id] = _FAILED

    def contains(self, chunk: Chunk) -> bool:
        """Return whether the source has this chunk. Of a document that cannot be stored, it has every chunk."""
        with self._lock:
            document = self._ids.get(chunk.document_id)
            return document is not None and document in (_FAILED, self._ids.get(chunk.id))

    def close(self) -> None:
        """Delete all ids."""
        self._ids.close()


def _digest(document_id: str, chunks: Sequence[PendingChunk]) -> bytes:
    """Return 128 bits: among 10^12 documents, two have the same digest with a probability of 10^-15."""
    content = "".join(pending.content_hash for pending in chunks) + document_id
    return hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=16).digest()
