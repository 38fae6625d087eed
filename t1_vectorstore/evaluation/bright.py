"""BRIGHT (arXiv:2407.12883): twelve tasks whose queries need reasoning, by the protocol of its own code.

The files are those of the data set ``xlangai/BRIGHT`` on the hub, in a local copy (Parquet, extra ``parquet``):
``documents/``, ``long_documents/`` and ``examples/``, with one or more files for each task. The query is the *original*
one. Documents that a query excludes are removed from its ranking. The long track uses ``gold_ids_long``. The
instructions are those that the authors give to instruction-following embedders.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from t1_vectorstore.errors import CorpusError
from t1_vectorstore.evaluation.benchmark import Benchmark
from t1_vectorstore.readers import Fields, read
from t1_vectorstore.types import Document

_POSTS = ("biology", "earth_science", "economics", "psychology", "robotics", "stackoverflow", "sustainable_living")
_EXAMPLES = {
    "leetcode": "coding problem",
    "aops": "Math problem",
    "theoremqa_questions": "Math problem",
    "theoremqa_theorems": "Math problem",
}
TASKS = (*_POSTS, "leetcode", "pony", "aops", "theoremqa_questions", "theoremqa_theorems")
LONG_TASKS = (*_POSTS, "pony")
"""The tasks that also have whole documents."""


def read_bright(folder: str | Path, task: str, *, long: bool = False) -> Benchmark:
    """Read one task.

    Args:
        folder: Local copy of the data set.
        task: One of ``TASKS``.
        long: Whether to rank whole documents instead of passages.

    Raises:
        ValueError: There is no such task, or it has no long track.
        CorpusError: Files are missing or malformed.
        MissingExtraError: The ``parquet`` extra is not installed.
    """
    tasks = LONG_TASKS if long else TASKS
    if task not in tasks:
        raise ValueError(f"BRIGHT has no {'long track' if long else 'task'} {task!r}; it has {', '.join(tasks)}")
    root = Path(folder)
    sources = _files(root, "long_documents" if long else "documents", task)
    queries: dict[str, str] = {}
    relevant: dict[str, dict[str, int]] = {}
    excluded: dict[str, frozenset[str]] = {}
    for example in read(_files(root, "examples", task), fields=Fields(text="query", id="id")):
        query = str(example.id)
        queries[query] = example.text
        relevant[query] = dict.fromkeys(_ids(example, "gold_ids_long" if long else "gold_ids"), 1)  # without duplicates
        excluded[query] = frozenset(_ids(example, "excluded_ids")) - {"N/A"}

    def documents() -> Iterator[Document]:
        return read(sources, fields=Fields(text="content", id="id"))

    name = f"BRIGHT {task}{', long' if long else ''}"
    return Benchmark(name, documents, queries, relevant, excluded, instruction(task, long=long))


def instruction(task: str, *, long: bool = False) -> str:
    """Return the authors' instruction for the queries of a task."""
    if task in _EXAMPLES:
        return f"Given a {_EXAMPLES[task]}, retrieve relevant examples that help answer the problem"
    query = "question" if task == "pony" else "post"
    return (
        f"Given a {task} {query}, retrieve relevant {'documents' if long else 'passages'} that help answer the {query}"
    )


def _files(root: Path, kind: str, task: str) -> list[Path]:
    patterns = (f"{task}-*.parquet", f"{task}.parquet", f"{task}.jsonl")
    found = sorted(path for pattern in patterns for path in (root / kind).glob(pattern))
    if not found:
        raise CorpusError(f"{root / kind} has no file {task}-*.parquet: is {root} a copy of the BRIGHT data set?")
    return found


def _ids(example: Document, column: str) -> list[str]:
    ids = example.metadata.get(column)
    if not isinstance(ids, list):
        raise CorpusError(f"BRIGHT's query {example.id!r} has no list {column!r}: is this its data set?")
    return [str(identifier) for identifier in ids]
