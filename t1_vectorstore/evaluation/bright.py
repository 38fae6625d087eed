"""BRIGHT (arXiv:2407.12883): twelve tasks whose queries need reasoning, by the protocol of its own code.

Its files are those of the data set ``xlangai/BRIGHT`` on the hub, taken from a local copy of it (Parquet, extra
``parquet``): ``documents/``, ``long_documents/`` and ``examples/``, one file or more for each task. The query is the
*original* one; the ids that a query excludes are taken out of its ranking; the long track counts ``gold_ids_long``.
The instructions are those that the authors give to instruction-following embedders.
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
"""The tasks that have whole documents, too."""

_NOT_AVAILABLE = "N/A"


def read_bright(folder: str | Path, task: str, *, long: bool = False) -> Benchmark:
    """Read one task.

    Args:
        folder: the local copy of the data set.
        task: one of ``TASKS``.
        long: rank whole documents instead of passages.

    Raises:
        ValueError: there is no such task, or it has no long track.
        CorpusError: files are missing or do not hold what they should.
        MissingExtraError: the ``parquet`` extra is not installed.
    """
    if task not in (LONG_TASKS if long else TASKS):
        track = "long track" if long else "task"
        raise ValueError(f"BRIGHT has no {track} {task!r}; it has {', '.join(LONG_TASKS if long else TASKS)}")
    root = Path(folder)
    sources = _files(root, "long_documents" if long else "documents", task)
    queries: dict[str, str] = {}
    relevant: dict[str, dict[str, int]] = {}
    excluded: dict[str, frozenset[str]] = {}
    for example in read(_files(root, "examples", task), fields=Fields(text="query", id="id")):
        query = str(example.id)
        queries[query] = example.text
        gold = _ids(example, "gold_ids_long" if long else "gold_ids")
        relevant[query] = dict.fromkeys(gold, 1)  # some lists name a document twice
        excluded[query] = frozenset(_ids(example, "excluded_ids")) - {_NOT_AVAILABLE}

    def documents() -> Iterator[Document]:
        return read(sources, fields=Fields(text="content", id="id"))

    name = f"BRIGHT {task}{', long' if long else ''}"
    return Benchmark(name, documents, queries, relevant, excluded, instruction(task, long=long))


def instruction(task: str, *, long: bool = False) -> str:
    """What the authors tell an embedder to do with a task's queries."""
    if task in _EXAMPLES:
        return f"Given a {_EXAMPLES[task]}, retrieve relevant examples that help answer the problem"
    what = "question" if task == "pony" else "post"
    found = "documents" if long else "passages"
    return f"Given a {task} {what}, retrieve relevant {found} that help answer the {what}"


def _files(root: Path, kind: str, task: str) -> list[Path]:
    found = sorted(
        path
        for pattern in (f"{task}-*.parquet", f"{task}.parquet", f"{task}.jsonl")
        for path in (root / kind).glob(pattern)
    )
    if not found:
        raise CorpusError(f"{root / kind} has no file {task}-*.parquet: is {root} a copy of the BRIGHT data set?")
    return found


def _ids(example: Document, column: str) -> list[str]:
    ids = example.metadata.get(column)
    if not isinstance(ids, list):
        raise CorpusError(f"BRIGHT's query {example.id!r} has no list {column!r}: is this its data set?")
    return [str(identifier) for identifier in ids]
