"""Benchmarks in the format of BEIR: ``corpus.jsonl``, ``queries.jsonl`` and ``qrels/<split>.tsv`` in a folder.

As in BEIR's own loader, a document's title is put before its text, and the queries of a split are those it judges.
``queries.<split>.jsonl`` and ``qrels.<split>.tsv`` beside the corpus are understood as well; all of it also as ``.gz``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from t1_vectorstore.corpora import read_jsonl
from t1_vectorstore.corpora.lines import Lines
from t1_vectorstore.errors import CorpusError
from t1_vectorstore.evaluation.benchmark import Benchmark
from t1_vectorstore.types import Document

_HEADER = "query-id"


def read_beir(folder: str | Path, split: str = "test") -> Benchmark:
    """Read one split.

    Args:
        folder: where the files are.
        split: ``test``, ``dev``, ...

    Raises:
        CorpusError: a file is missing or malformed (file and line), or judgements name what is not there.
    """
    folder = Path(folder)
    corpus = _file(folder, "corpus.jsonl")
    asked = _file(folder, f"queries.{split}.jsonl", "queries.jsonl")
    judged = _file(folder, f"qrels/{split}.tsv", f"qrels.{split}.tsv")
    relevant = read_qrels(judged)
    texts = {str(query.id): query.text for query in read_jsonl(asked)}
    if unknown := sorted(set(relevant) - set(texts)):
        raise CorpusError(f"{judged} judges the query {unknown[0]!r}, which {asked} does not have")
    queries = {query: text for query, text in texts.items() if query in relevant}

    def read() -> Iterator[Document]:
        return read_jsonl(corpus)

    return Benchmark(f"{folder.name}/{split}", read, queries, relevant)


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Read judgements: query, document and gain, separated by tabs, after a header; or TREC's four columns without one.

    Raises:
        CorpusError: a line that is neither, with file and line; or there are none.
    """
    relevant: dict[str, dict[str, int]] = {}
    lines = Lines(path, _raise)
    for line in lines:
        if error := lines.take_error():
            raise error
        cells = line.split()
        if not cells or cells[0] == _HEADER:
            continue
        try:
            query, document, gain = cells if len(cells) == 3 else (cells[0], cells[2], cells[3])
            relevant.setdefault(query, {})[document] = int(gain)
        except (IndexError, ValueError):
            raise CorpusError(
                f"{path}:{lines.number}: expected query, document and a whole number, got {line.strip()!r}"
            ) from None
    if not relevant:
        raise CorpusError(f"{path} holds no judgements: the split is empty")
    return relevant


def _file(folder: Path, *names: str) -> Path:
    for name in names:
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
    raise CorpusError(f"{folder} has no {' or '.join(names)}: it is no benchmark in BEIR's format, or lacks that split")


def _raise(error: CorpusError) -> None:
    raise error
