"""Benchmarks in the format of BEIR: ``corpus.jsonl``, ``queries.jsonl`` and ``qrels/<split>.tsv`` in a folder.

As in BEIR's own loader, a document's title is put before its text, and the queries of a split are those that it judges.
The files may also be ``queries.<split>.jsonl`` and ``qrels.<split>.tsv``, as ``t1 data`` writes them; its
``<split>.jsonl`` holds the right thoughts. Any of them may be gzipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from t1_vectorstore.errors import CorpusError
from t1_vectorstore.evaluation.benchmark import Benchmark
from t1_vectorstore.readers import Fields, read_jsonl
from t1_vectorstore.readers.lines import Lines, raise_error
from t1_vectorstore.readers.records import numbered_jsonl
from t1_vectorstore.types import Document


def read_beir(folder: str | Path, split: str = "test") -> Benchmark:
    """Read one split.

    Args:
        folder: Folder of the files.
        split: Name of the split, such as ``test`` or ``dev``.

    Raises:
        CorpusError: A file is missing or malformed (file and line), or a judgement names a query that does not exist.
    """
    folder = Path(folder)
    corpus = _file(folder, "corpus.jsonl")
    queries_file = _file(folder, f"queries.{split}.jsonl", "queries.jsonl")
    qrels_file = _file(folder, f"qrels/{split}.tsv", f"qrels.{split}.tsv")
    relevant = read_qrels(qrels_file)
    texts = {str(query.id): query.text for query in read_jsonl(queries_file)}
    if unknown := sorted(set(relevant) - set(texts)):
        raise CorpusError(f"{qrels_file} judges the query {unknown[0]!r}, which {queries_file} does not have")
    queries = {query: text for query, text in texts.items() if query in relevant}
    thoughts = _thoughts(folder, split, queries) if queries_file.name.startswith(f"queries.{split}.") else {}

    def read() -> Iterator[Document]:
        return read_jsonl(corpus)

    name, unjudged = f"{folder.resolve().name}/{split}", len(texts) - len(queries)
    # As BEIR does: a query whose text is a document, as in ArguAna, is not to find itself.
    itself = {query: frozenset({query}) for query in queries if relevant[query].get(query, 0) <= 0}
    return Benchmark(name, read, queries, relevant, itself, thoughts=thoughts, unjudged=unjudged)


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Read judgements: query, document and gain, separated by tabs, after a header; or TREC's four columns without one.

    Raises:
        CorpusError: A malformed line (file and line), or no judgements.
    """
    relevant: dict[str, dict[str, int]] = {}
    lines = Lines(path, raise_error)
    for line in lines:
        if error := lines.take_error():
            raise error
        cells = line.strip().split("\t") if "\t" in line else line.split()  # ids may contain spaces
        if not line.strip() or cells[0] == "query-id":
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


def _thoughts(folder: Path, split: str, queries: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Return the right thoughts of the split's examples, by query id; a query may have several."""
    path = _find(folder, f"{split}.jsonl")
    if path is None:
        return {}
    known: dict[str, list[str]] = {}
    for number, example in numbered_jsonl(path, fields=Fields(text="query")):
        thought = example.metadata.get("thought")
        if thought is None or thought == "":
            continue  # an empty thought is closed at once: it has no text to embed
        if isinstance(thought, str) and thought.strip():
            known.setdefault(example.text, []).append(thought)
        else:
            raise CorpusError(f"{path}:{number}: 'thought' must be a text or null, got {thought!r}")
    return {query: tuple(known[text]) for query, text in queries.items() if text in known}


def _file(folder: Path, *names: str) -> Path:
    if found := _find(folder, *names):
        return found
    raise CorpusError(
        f"{folder} has no {' or '.join(names)}: it is not a benchmark in BEIR's format, or lacks that split"
    )


def _find(folder: Path, *names: str) -> Path | None:
    candidates = (path for name in names for path in (folder / name, folder / f"{name}.gz"))
    return next((path for path in candidates if path.is_file()), None)
