"""A worker: loads one shard after the other, exactly as a load on one machine would."""

from __future__ import annotations

import hashlib
import json
import pickle
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from t1_vectorstore.collection import Collection
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.errors import BackendError, T1Error
from t1_vectorstore.indexing import LoadProgress, LoadReport, chunker_for, load
from t1_vectorstore.indexing.chunking import document_id
from t1_vectorstore.indexing.ray.shard_progress import with_lost
from t1_vectorstore.readers import Fields, OnError, read
from t1_vectorstore.types import Document

_TELL_SECONDS = 1.0
_FUTILE = 3  # attempts at a shard; Ray would hand out for ever what kills every worker, for want of memory say


@dataclass(frozen=True)
class Task:
    """What every worker is to do with its shards; see ``load_on_ray``."""

    embedder: Callable[[], T1Embedder]
    collection: Callable[[], Collection]
    fields: Fields
    chunk_size: int
    overlap: int
    dead_letters: bool
    max_reported: int | None


@dataclass(frozen=True)
class Outcome:
    """What became of a shard.

    Attributes:
        shard: the file.
        report: of its load, with what lost workers had done.
        documents: id and digest of each document, in order: no worker can see that another shard has the same id.
        dead_letters: the lines of the file.
    """

    shard: str
    report: LoadReport
    documents: Sequence[tuple[str, bytes]]
    dead_letters: bytes


class Worker:
    """What Ray Data calls with one shard at a time; an actor."""

    def __init__(self, task: Task, ledger: Any) -> None:  # noqa: ANN401 - an actor's handle
        """Take the task; model and collection are opened with the first shard, so that their errors come back whole."""
        self._task = task
        self._ledger = ledger
        self._opened: tuple[T1Embedder, Collection] | None = None

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[bytes]]:
        """Load the shards of a batch; each gives an ``Outcome``, or the error that must end the whole load."""
        return {"outcome": [pickle.dumps(self._outcome(str(shard))) for shard in batch["shard"]]}

    def _outcome(self, shard: str) -> Outcome | Exception:
        try:
            return self._load(shard)
        except (T1Error, ValueError, TypeError) as error:
            return error

    def _load(self, shard: str) -> Outcome:
        import ray

        task = self._task
        attempt = ray.get(self._ledger.begin.remote(shard))
        if ray.get(self._ledger.futile.remote(shard)) >= _FUTILE:
            raise BackendError(
                f"{shard}: {_FUTILE} workers in a row were lost on it without storing anything; see Ray's logs for why "
                "(out of memory?), or load it alone"
            )
        if self._opened is None:
            self._opened = task.embedder(), task.collection()
        embedder, collection = self._opened
        documents: list[tuple[str, bytes]] = []

        def reader(*, on_error: OnError) -> Iterator[Document]:
            for document in read(shard, fields=task.fields, on_error=on_error):
                documents.append((document_id(document), _digest(document)))
                yield document

        with ExitStack() as stack:
            letters = Path(stack.enter_context(TemporaryDirectory(prefix="t1-"))) / "dead_letters.jsonl"
            report = load(
                reader,
                embedder,
                collection,
                chunker=chunker_for(embedder, size=task.chunk_size, overlap=task.overlap),
                dead_letters=letters if task.dead_letters else None,
                max_reported=task.max_reported,
                on_progress=_Teller(self._ledger, shard, attempt),
            )
            lines = letters.read_bytes() if task.dead_letters else b""
        lost = ray.get(self._ledger.lost.remote(shard, attempt))
        return Outcome(shard, with_lost(report, lost), documents, lines)


class _Teller:
    """Tells the ledger of whatever was stored at once, and of the rest now and then."""

    def __init__(self, ledger: Any, shard: str, attempt: int) -> None:  # noqa: ANN401
        self._ledger, self._shard, self._attempt = ledger, shard, attempt
        self._stored = 0
        self._told = time.monotonic()

    def __call__(self, progress: LoadProgress) -> None:
        if progress.stored == self._stored and time.monotonic() - self._told < _TELL_SECONDS:
            return
        self._stored, self._told = progress.stored, time.monotonic()
        self._ledger.tell.remote(self._shard, self._attempt, progress)


def _digest(document: Document) -> bytes:
    """Tells two documents of one id apart."""
    try:
        content = json.dumps([document.text, dict(document.metadata)], sort_keys=True)
    except (TypeError, ValueError):  # not JSON, so it will not be stored either
        content = repr(document)
    return hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=16).digest()
