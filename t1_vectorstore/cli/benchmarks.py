"""What ``t1 eval`` measures on: the benchmarks of a folder, and an index of their documents."""

from __future__ import annotations

import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from t1_vectorstore.cli.console import counted, note
from t1_vectorstore.cli.progress import busy
from t1_vectorstore.cli.stores import open_store

if TYPE_CHECKING:
    from t1_vectorstore.collection import Collection
    from t1_vectorstore.evaluation.benchmark import Benchmark
    from t1_vectorstore.evaluation.registry import Parts
    from t1_vectorstore.options import ModelOptions
    from t1_vectorstore.types import Document
    from t1_vectorstore.vectorstore import T1VectorStore


def read_benchmarks(folder: Path | None, split: str, bright: str | None, long: bool) -> list[Benchmark]:
    """The benchmarks of ``FOLDER``, ``--split``, ``--bright`` and ``--long``, one for each split.

    Raises:
        CorpusError: a file is missing, or is not what it should be.
        ValueError: options that contradict each other, or no folder.
    """
    from t1_vectorstore.evaluation.beir import read_beir
    from t1_vectorstore.evaluation.bright import read_bright

    if folder is None:
        raise ValueError("name a benchmark's folder, or your own judgements by --labels with --index")
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder")
    if bright is not None:
        return [read_bright(folder, bright, long=long)]
    if long:
        raise ValueError("--long is BRIGHT's long track, and needs --bright TASK")
    splits = [name.strip() for name in split.split(",") if name.strip()]
    if not splits or len(set(splits)) < len(splits):
        raise ValueError(f"--split takes different names, such as test,dev; got {split!r}")
    tasks = [read_beir(folder, name) for name in splits]
    for task in tasks[1:]:  # the first one's are read, and so proven, when they are indexed
        deque(task.documents(), maxlen=0)
    return tasks


def check_thoughts(tasks: Sequence[Benchmark], wanted: Sequence[str]) -> None:
    """See that there are thoughts to give, and say how many there are not."""
    from t1_vectorstore.evaluation.registry import GIVEN

    given = [name for name in wanted if name in GIVEN]
    for task in tasks:
        for name in given:
            GIVEN[name](task)
        if given and (unknown := len(task.queries) - len(task.thoughts)):
            note(
                f"{task.name}: no right thought is known for {unknown:,} of {len(task.queries):,} queries; "
                f"they are embedded without one for {' and '.join(given)}"
            )


def passing_folder(stack: ExitStack) -> str:
    """For an index that nobody wants to keep."""
    return stack.enter_context(tempfile.TemporaryDirectory(prefix="t1-eval-"))


def parts_of_systems(task: Benchmark, store: T1VectorStore, options: ModelOptions, stack: ExitStack) -> Parts:
    """What systems are made of; other models are loaded, and index the documents, when they are asked for."""
    from t1_vectorstore.evaluation.registry import Parts

    def other(model: str) -> T1VectorStore:
        another = stack.enter_context(
            open_store(passing_folder(stack), options.model_copy(update={"model": model}), create={})
        )
        index_documents(task, another)
        return another

    return Parts(store, partial(_documents, task, store), other)


def demand_own_index(benchmark: Benchmark, collection: Collection) -> None:
    """Refuse an index that also holds what the benchmark does not: T1 would rank it, and what T1 is compared with not.

    Of an index that holds nothing else, only hashes are read.

    Raises:
        ValueError: there are other documents in the index, such as those of another benchmark.
        CorpusError: the documents cannot be read.
    """
    points = collection.count()
    if not points:
        return
    ids = {str(document.id) for document in benchmark.documents()}
    others = points - len(collection.content_hashes(ids))
    # Points that are no whole document may be chunks of one; indexing replaces those.
    strangers = (chunk.document_id for chunk in collection.scroll() if chunk.document_id not in ids)
    if others and (stranger := next(strangers, None)) is not None:
        raise ValueError(
            f"{collection.location} holds {points:,} points, {others:,} of which are no documents of "
            f"{benchmark.name}, such as {stranger!r}: they would be ranked as well. Give another --index, which is made"
        )


def index_documents(benchmark: Benchmark, store: T1VectorStore) -> None:
    """Bring the index of a benchmark up to date: each document whole, as benchmarks have it."""
    from t1_vectorstore.indexing.chunking import Chunker

    with busy("indexing"):
        loaded = store.add(benchmark.documents(), chunker=Chunker(sys.maxsize))
    if loaded.failed:
        first = loaded.failures[0]
        note(f"{counted(loaded.failed, 'document')} cannot be indexed, such as {first.id!r}: {first.reason}")
    if loaded.truncated:
        note(f"of {counted(loaded.truncated, 'document')} the model read only the beginning")


def _documents(benchmark: Benchmark, store: T1VectorStore) -> Iterator[Document]:
    """What is ranked: the benchmark's documents, or the chunks of a user's index under their documents' ids."""
    from t1_vectorstore.types import Document

    if benchmark.read is not None:
        yield from benchmark.documents()
    else:
        for chunk in store.collection.scroll():
            yield Document(chunk.text, id=chunk.document_id)
