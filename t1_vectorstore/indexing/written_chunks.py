"""The chunks that a load has written, which are read back at its end."""

from __future__ import annotations

import json
from collections.abc import Iterable
from tempfile import SpooledTemporaryFile

from t1_vectorstore.collection import Collection
from t1_vectorstore.collection.writer import BATCH_POINTS
from t1_vectorstore.indexing.chunk_documents import PendingChunk
from t1_vectorstore.indexing.report import LoadCounters
from t1_vectorstore.iteration import batched

_MAX_MEMORY = 2**20  # in bytes; a longer list is kept on disk


class WrittenChunks:
    """Ids and hashes of the written chunks, in constant memory.

    Each chunk is read back once, by ``verify``, which finds what was not kept, lost or overwritten since.
    """

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(_MAX_MEMORY, "w+", encoding="ascii")  # noqa: SIM115 - closed by close

    def add(self, chunks: Iterable[PendingChunk]) -> None:
        """Add chunks that have been written."""
        for pending in chunks:
            self._file.write(json.dumps([pending.source.id, pending.chunk.id, pending.content_hash]) + "\n")

    def verify(self, collection: Collection, counters: LoadCounters) -> None:
        """Read the chunks back: count those that are as written, and report the documents of the others as failed."""
        self._file.seek(0)
        reported = ""  # a document is reported once; its chunks were written one after the other
        for written in batched(map(json.loads, self._file), BATCH_POINTS):
            found = collection.content_hashes(chunk_id for _, chunk_id, _ in written)
            lost = [(name, chunk_id) for name, chunk_id, content in written if found.get(chunk_id) != content]
            for name, chunk_id in lost:
                if name != reported:
                    counters.count_failure(name, _reason(chunk_id, chunk_id in found))
                    reported = name
            counters.count(verified=len(written) - len(lost))
            counters.report_progress()

    def close(self) -> None:
        """Delete the list."""
        self._file.close()


def _reason(chunk_id: str, exists: bool) -> str:
    fate = "was overwritten" if exists else "is missing again"
    return f"chunk {chunk_id!r} was stored, but {fate}: something else writes to this collection; load it once more"
