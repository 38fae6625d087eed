"""A worker: it loads one shard after the other, exactly as a load on one machine does."""

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
from t1_vectorstore.indexing.ray.options import RayLoadOptions
from t1_vectorstore.indexing.ray.shard_progress import add_lost_attempts
from t1_vectorstore.metadata import to_json
from t1_vectorstore.readers import OnError, read
from t1_vectorstore.types import Document

_REPORT_SECONDS = 1.0
_MAX_FAILED_ATTEMPTS = 3  # per shard; Ray would retry forever a shard that kills every worker, for example by its size


@dataclass(frozen=True)
class Task:
    """What every worker does with its shards; see ``load_on_ray``."""

    embedder: Callable[[], T1Embedder]
    collection: Callable[[], Collection]
    options: RayLoadOptions


@dataclass(frozen=True)
class ShardResult:
    """Result of one shard.

    Attributes:
        shard: The file.
        report: Report of its load, with the work of lost workers.
        documents: Id and digest of each document, in order. Only the driver can see that two shards have the same id.
        dead_letters: Lines of the file of dead letters.
    """

    shard: str
    report: LoadReport
    documents: Sequence[tuple[str, bytes]]
    dead_letters: bytes


class Worker:
    """An actor to which Ray Data passes one shard at a time."""

    def __init__(self, task: Task, progress: Any) -> None:  # noqa: ANN401 - handle of the actor ShardProgress
        """Store the task. The first shard opens model and collection, so that their errors can be returned."""
        self._task = task
        self._progress = progress
        self._opened: tuple[T1Embedder, Collection] | None = None

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[bytes]]:
        """Load the shards of a batch; each gives a ``ShardResult``, or the error that must end the whole load."""
        return {"result": [pickle.dumps(self._load_or_error(str(shard))) for shard in batch["shard"]]}

    def _load_or_error(self, shard: str) -> ShardResult | Exception:
        try:
            return self._load(shard)
        except (T1Error, ValueError, TypeError) as error:
            return error

    def _load(self, shard: str) -> ShardResult:
        import ray

        options = self._task.options
        attempt = ray.get(self._progress.begin.remote(shard))
        if ray.get(self._progress.failed_in_a_row.remote(shard)) >= _MAX_FAILED_ATTEMPTS:
            raise BackendError(
                f"{shard}: {_MAX_FAILED_ATTEMPTS} workers in a row were lost without storing anything; look for the "
                "reason in Ray's logs (out of memory?), or load the shard alone"
            )
        if self._opened is None:
            self._opened = self._task.embedder(), self._task.collection()
        embedder, collection = self._opened
        documents: list[tuple[str, bytes]] = []

        def reader(*, on_error: OnError) -> Iterator[Document]:
            for document in read(shard, fields=options.fields, on_error=on_error):
                documents.append((document_id(document), _digest(document)))
                yield document

        with ExitStack() as stack:
            dead_letters = Path(stack.enter_context(TemporaryDirectory(prefix="t1-"))) / "dead_letters.jsonl"
            report = load(
                reader,
                embedder,
                collection,
                chunker=chunker_for(embedder, size=options.chunk_size, overlap=options.overlap),
                dead_letters=None if options.dead_letters is None else dead_letters,
                max_reported=options.max_reported,
                on_progress=_ProgressReporter(self._progress, shard, attempt),
            )
            lines = b"" if options.dead_letters is None else dead_letters.read_bytes()
        lost = ray.get(self._progress.earlier_attempts.remote(shard, attempt))
        return ShardResult(shard, add_lost_attempts(report, lost), documents, lines)


class _ProgressReporter:
    """Reports stored chunks to the driver at once, and other progress once a second."""

    def __init__(self, progress: Any, shard: str, attempt: int) -> None:  # noqa: ANN401
        self._progress, self._shard, self._attempt = progress, shard, attempt
        self._stored = 0
        self._reported = time.monotonic()

    def __call__(self, progress: LoadProgress) -> None:
        if progress.stored == self._stored and time.monotonic() - self._reported < _REPORT_SECONDS:
            return
        self._stored, self._reported = progress.stored, time.monotonic()
        self._progress.report.remote(self._shard, self._attempt, progress)


def _digest(document: Document) -> bytes:
    """Return a digest that differs for different documents with the same id."""
    try:
        content = json.dumps([document.text, to_json(document.metadata, "the document")], sort_keys=True)
    except (TypeError, ValueError):  # it will not be stored either
        content = repr(document)
    return hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=16).digest()
