"""The driver: makes sure that the load can work, hands out the shards, and puts the reports together."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from t1_vectorstore.collection import Collection
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.errors import MissingExtraError
from t1_vectorstore.indexing import MAX_REPORTED, Failure, LoadProgress, LoadReport, merge_reports
from t1_vectorstore.indexing.chunking import DEFAULT_SIZE, Chunker
from t1_vectorstore.indexing.ray.cluster import LOCAL, cluster
from t1_vectorstore.indexing.ray.duplicates import Duplicates
from t1_vectorstore.indexing.ray.run import Workers, outcomes
from t1_vectorstore.indexing.ray.worker import Task
from t1_vectorstore.readers import FAILURE_FIELD, RECORD_READERS, Fields, check
from t1_vectorstore.readers.lines import content_suffix


def load_on_ray(
    shards: Iterable[str | Path],
    embedder: Callable[[], T1Embedder],
    collection: Callable[[], Collection],
    *,
    workers: Workers = Workers(),
    address: str = LOCAL,
    fields: Fields = Fields(),
    chunk_size: int = DEFAULT_SIZE,
    overlap: int = 0,
    dead_letters: str | os.PathLike[str] | None = None,
    max_reported: int | None = MAX_REPORTED,
    on_progress: Callable[[LoadProgress], None] | None = None,
) -> LoadReport:
    """Bring shards of a corpus into a collection on a server, by several workers at once.

    Each shard is loaded as ``ingest.load`` does it, with the same ids and hashes. A worker that is lost is replaced,
    and its shard is loaded again, which encodes only what is missing; a job that was ended in any way is completed by
    running it again. A document must be in one shard only: another one of its id elsewhere is reported as failed, and
    which of the two is stored is not decided. The very same one elsewhere counts as ``repeated``, and its chunks once
    more.

    Args:
        shards: files of records, such as JSON Lines or Parquet, under paths that every worker can read. More shards
            than workers keep them all busy to the end.
        embedder: makes the model, in each worker: ``partial(T1Embedder.load, "t1-mini", truncation="allow")``.
        collection: opens the collection, here and in each worker: ``partial(Collection.open, url, identity=identity)``.
            Here it comes first, so that it is created, or refused, before any worker starts.
        workers: how many, and what each needs.
        address: of a Ray cluster (``auto`` on one of its machines); ``local`` starts Ray on this one. A process that is
            connected to Ray already stays so.
        fields: which fields of a record hold what.
        chunk_size: characters in a chunk at most.
        overlap: characters that a chunk repeats of the one before.
        dead_letters: a file that takes every document that was not stored; what it holds is replaced.
        max_reported: Maximum number of failures, and of truncated chunks, listed in the report; ``None`` lists all.
        on_progress: told a few times a second, in the calling thread.

    Raises:
        ValueError: no shard, something else than a file of records, or a collection that only one process can open.
        CorpusError: a shard is not there.
        CollectionMismatch: the collection holds another model's vectors.
        MissingExtraError: ray is not installed.
        BackendError: the model failed, a shard's workers were lost again and again, or there is no such cluster.
        StoreError: the collection failed. What was stored stays, and a rerun goes on from there.
    """
    paths = [Path(shard).resolve() for shard in dict.fromkeys(shards)]
    check_shards(paths)
    Chunker(chunk_size, overlap)
    with collection() as opened:
        if opened.engine != "server":
            raise ValueError(
                f"{opened.location} can be open in one process only; several workers need the URL of a Qdrant server"
            )
    task = Task(embedder, collection, fields, chunk_size, overlap, dead_letters is not None, max_reported)
    started = time.perf_counter()
    with ExitStack() as stack:
        letters = None if dead_letters is None else stack.enter_context(Path(dead_letters).open("wb"))
        duplicates = stack.enter_context(closing(Duplicates()))
        stack.enter_context(cluster(address, workers.count * workers.cpus))
        report = LoadReport()
        for outcome in outcomes([str(path) for path in paths], task, workers, on_progress, started):
            elsewhere = duplicates.add(outcome.shard, outcome.documents)
            report = merge_reports([report, outcome.report, elsewhere], max_reported=max_reported)
            if letters is not None:
                letters.write(outcome.dead_letters)
                letters.writelines(_letter(failure) for failure in elsewhere.failures)
                letters.flush()
    report = replace(report, seconds=time.perf_counter() - started)
    if on_progress is not None:
        on_progress(report)
    return report


def check_shards(shards: Sequence[str | Path]) -> None:
    """Refuse what ``load_on_ray`` would refuse, before a collection is made for it.

    Raises:
        ValueError: there is no shard, or something else than a file of records.
        CorpusError: a shard is not there.
        MissingExtraError: ray, or what a shard is read with, is not installed.
    """
    for path in map(Path, shards):
        if path.is_dir() or (path.exists() and content_suffix(path) not in RECORD_READERS) or str(path) == "-":
            raise ValueError(f"{path}: workers take files of records ({', '.join(RECORD_READERS)}); name each of them")
    check(shards)
    if not shards:
        raise ValueError("there is no shard to load")
    if find_spec("ray") is None:
        raise MissingExtraError("ray", "a load by several workers")


def _letter(failure: Failure) -> bytes:
    return (json.dumps({"id": failure.id, FAILURE_FIELD: failure.reason}) + "\n").encode("ascii")
