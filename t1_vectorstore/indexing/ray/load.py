"""The driver of a load on Ray: it checks that the load can work, starts the workers and merges their reports."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from t1_vectorstore.collection import Collection
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.errors import MissingExtraError
from t1_vectorstore.indexing import Failure, LoadReport, merge_reports
from t1_vectorstore.indexing.chunking import Chunker
from t1_vectorstore.indexing.dead_letters import refuse_other_file
from t1_vectorstore.indexing.id_table import IdTable
from t1_vectorstore.indexing.ray.cluster import cluster
from t1_vectorstore.indexing.ray.options import RayLoadOptions
from t1_vectorstore.indexing.ray.run import run_shards
from t1_vectorstore.indexing.ray.worker import Task
from t1_vectorstore.keyword_options import takes_options
from t1_vectorstore.readers import FAILURE_FIELD, RECORD_READERS, check
from t1_vectorstore.readers.lines import content_suffix


@takes_options(RayLoadOptions)
def load_on_ray(
    shards: Iterable[str | Path],
    embedder: Callable[[], T1Embedder],
    collection: Callable[[], Collection],
    options: RayLoadOptions,
) -> LoadReport:
    """Load the shards of a corpus into a collection on a server, with several workers at once.

    Each shard is loaded as by ``indexing.load``, with the same ids and hashes. A lost worker is replaced, and its shard
    is loaded again, which encodes only what is missing; an interrupted load is completed by running it again. A
    document should be in one shard only: another document with its id in another shard is reported as failed, and
    either of the two may be stored. An equal document in another shard counts as ``repeated``, and its chunks are
    counted again.

    Args:
        shards: Files of records, such as JSON Lines or Parquet, at paths that every worker can read. More shards than
            workers keep all workers busy to the end.
        embedder: Creates the model, in each worker: ``partial(T1Embedder.load, "t1-mini", truncation="allow")``.
        collection: Opens the collection, first here, so that it is created or refused before any worker starts, and
            then in each worker: ``partial(Collection.open, url, identity=identity)``.
        options: Keyword arguments, the fields of ``RayLoadOptions``.

    Raises:
        ValueError: No shard, a shard that is not a file of records, or a collection that only one process can open.
        CorpusError: A shard does not exist.
        CollectionMismatch: The collection holds another model's vectors.
        MissingExtraError: Ray is not installed.
        BackendError: The model failed, the workers of a shard were lost repeatedly, or there is no such cluster.
        StoreError: The collection failed. Stored chunks are kept, and a rerun continues from there.
    """
    paths = list(dict.fromkeys(Path(shard).resolve() for shard in shards))
    check_shards(paths)
    Chunker(options.chunk_size, options.overlap)  # refuses invalid sizes
    if options.dead_letters is not None:
        refuse_other_file(options.dead_letters)
    with collection() as opened:
        if opened.engine != "server":
            raise ValueError(f"{opened.location} can be open in one process only; give the URL of a Qdrant server")
    task = Task(embedder, collection, options.model_copy(update={"on_progress": None}))
    started = time.perf_counter()
    with ExitStack() as stack:
        file = options.dead_letters
        dead_letters = None if file is None else stack.enter_context(Path(file).open("wb"))
        duplicates = stack.enter_context(closing(DuplicateIds()))
        stack.enter_context(cluster(options.address, options.workers.count * options.workers.cpus))
        report = LoadReport()
        for result in run_shards([str(path) for path in paths], task, options.on_progress, started):
            found = duplicates.add(result.shard, result.documents)
            report = merge_reports([report, result.report, found], max_reported=options.max_reported)
            if dead_letters is not None:
                dead_letters.write(result.dead_letters)
                dead_letters.writelines(_dead_letter(failure) for failure in found.failures)
                dead_letters.flush()
    report = replace(report, seconds=time.perf_counter() - started)
    if options.on_progress is not None:
        options.on_progress(report)
    return report


def check_shards(shards: Sequence[str | Path]) -> None:
    """Refuse shards that ``load_on_ray`` would refuse, before a collection is created for them.

    Raises:
        ValueError: No shard, or a shard that is not a file of records.
        CorpusError: A shard does not exist.
        MissingExtraError: Ray, or a library that a shard needs, is not installed.
    """
    for path in map(Path, shards):
        if path.is_dir() or (path.exists() and content_suffix(path) not in RECORD_READERS) or str(path) == "-":
            raise ValueError(f"{path}: workers read files of records ({', '.join(RECORD_READERS)}); give each of them")
    check(shards)
    if not shards:
        raise ValueError("there is no shard to load")
    if find_spec("ray") is None:
        raise MissingExtraError("ray", "a load on several workers")


class DuplicateIds:
    """The ids of all documents, each with its shard, to find those in several shards, which no worker can see."""

    def __init__(self) -> None:
        self._ids = IdTable()  # content digest, and the position of the shard in the list
        self._shards: list[str] = []

    def add(self, shard: str, documents: Iterable[tuple[str, bytes]]) -> LoadReport:
        """Compare the ids and digests of a shard's documents with those of earlier shards.

        Returns:
            Repeated and failed documents, to be merged into the load's report.
        """
        position = len(self._shards).to_bytes(8, "big")
        self._shards.append(shard)
        repeated = 0
        failures: list[Failure] = []
        for document_id, digest in dict(reversed(list(documents))).items():  # of equal ids, the first one was stored
            found = self._ids.get(document_id)
            if found is None:
                self._ids[document_id] = digest + position
            elif found[:-8] == digest:
                repeated += 1
            else:
                other = self._shards[int.from_bytes(found[-8:], "big")]
                reason = f"{shard} and {other} have different documents with this id, and either may be stored now"
                failures.append(Failure(document_id, f"{reason}; give each its own id and load them again"))
        return LoadReport(repeated=repeated, failed=len(failures), failures=tuple(failures))

    def close(self) -> None:
        """Delete all ids."""
        self._ids.close()


def _dead_letter(failure: Failure) -> bytes:
    return (json.dumps({"id": failure.id, FAILURE_FIELD: failure.reason}) + "\n").encode("ascii")
