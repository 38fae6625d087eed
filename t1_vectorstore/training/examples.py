"""The format of training data: a folder with a corpus, examples, and evaluation splits that ``t1 eval`` reads too.

    corpus.jsonl           {"_id": "a", "text": "..."}                         as in BEIR
    train.jsonl            {"query": "...", "thought": "..." or null,
                            "positives": ["a"], "negatives": ["b"], "part": "hop2", "own_thoughts": ["..."]}
    dev.jsonl              the same for a split that is not trained on
    queries.dev.jsonl      {"_id": "dev-0", "text": "..."}                     written from dev.jsonl for ``t1 eval``
    qrels.dev.tsv          query-id, corpus-id, score                          likewise

Each line of a split is one ``Example``. ``negatives``, ``part`` and ``own_thoughts`` are optional. Any file may be
gzipped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from t1_vectorstore.errors import CorpusError
from t1_vectorstore.readers.lines import Lines, raise_error
from t1_vectorstore.readers.records import numbered_jsonl

CORPUS_FILE = "corpus.jsonl"
TRAIN = "train"


@dataclass(frozen=True)
class Example:
    """A query and its relevant documents: one line of a split.

    Attributes:
        query: Text of the query.
        thought: Right thought about the query. An empty thought is closed at once: the model learns not to think about
            such queries. ``None`` trains the query without thinking.
        positives: Ids of the relevant documents, at least one.
        negatives: Ids of hard negatives.
        part: Name of the part of the data, by which recipes mix the examples.
        own_thoughts: Thoughts that a model generated about the query, right or wrong. The model can be trained to embed
            the query with them, but never to write them.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)  # of _LINE

    query: Annotated[str, Field(min_length=1)]
    thought: str | None
    positives: Annotated[tuple[str, ...], Field(min_length=1)]
    negatives: tuple[str, ...] = ()
    part: str | None = None
    own_thoughts: tuple[str, ...] = ()


_LINE = TypeAdapter(Example)


@dataclass(frozen=True)
class TrainingData:
    """A corpus and one of its splits.

    Attributes:
        documents: Text by document id, in the order of the file.
        examples: Examples of the split, in the order of the file.
    """

    documents: Mapping[str, str]
    examples: tuple[Example, ...]

    def with_thoughts(self) -> TrainingData:
        """Keep only the examples with a thought."""
        return TrainingData(self.documents, tuple(e for e in self.examples if e.thought is not None))

    def relevant_by_query(self) -> dict[str, set[str]]:
        """Return the ids of all documents that are relevant to each query; a query may be in several examples."""
        relevant: dict[str, set[str]] = {}
        for example in self.examples:
            relevant.setdefault(example.query, set()).update(example.positives)
        return relevant

    def with_negatives(self, negatives: Mapping[str, Sequence[str]]) -> TrainingData:
        """Replace hard negatives by query. Queries without an entry, or with an empty one, keep theirs."""
        examples = (
            replace(e, negatives=tuple(name for name in found if name not in e.positives))
            if (found := negatives.get(e.query))
            else e
            for e in self.examples
        )
        return TrainingData(self.documents, tuple(examples))


def read_data(folder: str | Path, split: str = TRAIN) -> TrainingData:
    """Read the corpus and a split.

    Raises:
        CorpusError: A file is missing or empty; or a line is malformed, repeats another one, or names a document that
            the corpus lacks. The message names the file and the line.
    """
    documents = read_corpus(Path(folder))
    return TrainingData(documents, tuple(read_split(Path(folder), split, documents)))


def read_corpus(folder: Path) -> dict[str, str]:
    """Read the documents, text by id; the errors are those of ``read_data``."""
    path = data_file(folder, CORPUS_FILE)
    documents: dict[str, str] = {}
    for number, document in numbered_jsonl(path):
        if document.id is None or not document.text.strip():
            raise CorpusError(f"{path}:{number}: the document has no {'id' if document.id is None else 'text'}")
        if document.id in documents:
            raise CorpusError(f"{path}:{number}: an earlier document has the same id {document.id!r}")
        documents[document.id] = document.text
    if not documents:
        raise CorpusError(f"{path} contains no documents")
    return documents


def list_splits(folder: Path) -> list[str]:
    """Return the names of the splits in a folder, sorted; ``queries.*.jsonl`` files are not splits."""
    names = {path.name.removesuffix(".gz").removesuffix(".jsonl") for path in folder.glob("*.jsonl*") if path.is_file()}
    return sorted(name for name in names if name != "corpus" and not name.startswith("queries."))


def read_split(folder: Path, split: str, documents: Mapping[str, str]) -> list[Example]:
    """Read the examples of a split; the errors are those of ``read_data``."""
    path = data_file(folder, f"{split}.jsonl")
    seen: dict[tuple[object, ...], int] = {}
    examples = []
    for number, example in _read_lines(path):
        if unknown := [name for name in (*example.positives, *example.negatives) if name not in documents]:
            raise CorpusError(f"{path}:{number}: the corpus has no document {unknown[0]!r}")
        if both := set(example.positives) & set(example.negatives):
            raise CorpusError(f"{path}:{number}: {min(both)!r} is both a positive and a negative")
        key = _identity(example)
        if key in seen:
            raise CorpusError(f"{path}:{number}: repeats line {seen[key]}; remove one of them")
        seen[key] = number
        examples.append(example)
    if not examples:
        raise CorpusError(f"{path} contains no examples: the split is empty")
    return examples


def write_data(folder: Path, documents: Mapping[str, str], splits: Mapping[str, Iterable[Example]]) -> dict[str, int]:
    """Write a corpus and its splits; every split except ``train`` also in the BEIR format.

    Repeated examples are left out. The written files are read back with all checks of ``read_data``.

    Returns:
        Number of documents (``corpus``) and of examples in each split.

    Raises:
        CorpusError: A split is empty, and nothing is written; or a check failed.
    """
    distinct = {split: list({_identity(e): e for e in examples}.values()) for split, examples in splits.items()}
    if empty := [split for split, examples in distinct.items() if not examples]:
        raise CorpusError(f"no examples for {', '.join(empty)}: ask for more; nothing was written to {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    _write_jsonl(folder / CORPUS_FILE, ({"_id": name, "text": text} for name, text in documents.items()))
    counts = {"corpus": len(documents)}
    for split, examples in distinct.items():
        _write_jsonl(folder / f"{split}.jsonl", map(_record, examples))
        if split != TRAIN:
            _write_beir(folder, split, examples)
        counts[split] = len(read_split(folder, split, documents))
    return counts


def data_file(folder: Path, name: str) -> Path:
    """Return the path of a file of training data, plain or gzipped.

    Raises:
        CorpusError: There is no such file.
    """
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    if not folder.is_dir():
        raise CorpusError(f"{folder} is not a folder: create training data with t1 data")
    raise CorpusError(f"{folder} has no {name}: create it with t1 data, or see t1_vectorstore.training.examples")


def _identity(example: Example) -> tuple[object, ...]:
    return example.query, example.thought, tuple(sorted(example.positives))


def _record(example: Example) -> dict[str, object]:
    """Return the fields of a line; few examples have thoughts of a model."""
    record = asdict(example)
    return record if example.own_thoughts else {name: record[name] for name in record if name != "own_thoughts"}


def _write_beir(folder: Path, split: str, examples: list[Example]) -> None:
    relevant: dict[str, dict[str, None]] = {}
    for example in examples:  # one query may have several thoughts
        relevant.setdefault(example.query, {}).update(dict.fromkeys(example.positives))
    queries = {query: f"{split}-{row}" for row, query in enumerate(relevant)}
    _write_jsonl(folder / f"queries.{split}.jsonl", ({"_id": name, "text": text} for text, name in queries.items()))
    lines = [f"{queries[query]}\t{document}\t1\n" for query, documents in relevant.items() for document in documents]
    text = "".join(["query-id\tcorpus-id\tscore\n", *lines])
    (folder / f"qrels.{split}.tsv").write_text(text, encoding="utf-8")


def _read_lines(path: Path) -> Iterator[tuple[int, Example]]:
    lines = Lines(path, raise_error)
    for line in lines:
        if broken := lines.take_error():
            raise broken
        if not line.strip():
            continue
        try:
            example = _LINE.validate_json(line)
        except ValidationError as error:
            problem = error.errors()[0]
            field = ".".join(map(str, problem["loc"])) or "line"
            message = re.sub(r" at line \d+", " at", problem["msg"])  # pydantic counts lines within this line
            raise CorpusError(f"{path}:{lines.number}: {field}: {message}") from None
        if not example.query.strip():
            raise CorpusError(f"{path}:{lines.number}: query: only white space")
        yield lines.number, example


def _write_jsonl(path: Path, records: Iterable[Mapping[str, object]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
