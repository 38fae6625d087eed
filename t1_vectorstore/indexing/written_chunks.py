"""The proof at the end of a load: is everything that it stored still there, as it was written?"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from tempfile import SpooledTemporaryFile

from t1_vectorstore.collection import Collection
from t1_vectorstore.collection.writer import BATCH_POINTS, batched
from t1_vectorstore.indexing.chunk_documents import Piece
from t1_vectorstore.indexing.counters import Tally

_IN_MEMORY = 2**20  # bytes; a longer list is on the disk


class Proof:
    """Remembers, in constant memory, what was written, and compares it with the collection.

    Each chunk is read back once, here: this finds what was not kept, and what was lost or overwritten since.
    """

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(_IN_MEMORY, "w+", encoding="ascii")  # noqa: SIM115 - as long as this object

    def add(self, pieces: Iterable[Piece]) -> None:
        """These have been written."""
        for piece in pieces:
            self._file.write(json.dumps([piece.origin.name, piece.chunk.id, piece.content_hash]) + "\n")

    def check(self, collection: Collection, tally: Tally, meanwhile: Callable[[], None]) -> None:
        """Count what is there, and report each document of which something is not."""
        self._file.seek(0)
        lost = ""  # a document is reported once: its chunks were written one after the other
        for written in batched(map(json.loads, self._file), BATCH_POINTS):
            known = collection.content_hashes(chunk for _, chunk, _ in written)
            missing = [(name, chunk) for name, chunk, content in written if known.get(chunk) != content]
            for name, chunk in missing:
                if name != lost:
                    tally.fail(name, _reason(chunk, chunk in known))
                    lost = name
            tally.count(verified=len(written) - len(missing))
            meanwhile()

    def close(self) -> None:
        """Forget everything."""
        self._file.close()


def _reason(chunk: str, there: bool) -> str:
    fate = "is overwritten" if there else "is gone again"
    return f"chunk {chunk!r} was stored, and {fate}: something else writes to this collection; load it once more"
