"""The data of training: a folder with a corpus, examples, and splits that ``t1 eval`` reads too.

    corpus.jsonl           {"_id": "a", "text": "..."}                         as in BEIR
    train.jsonl            {"query": "...", "thought": "..." or null,
                            "positives": ["a"], "negatives": ["b"], "part": "hop2"}
    dev.jsonl              the same for a split that is not trained on
    queries.dev.jsonl      {"_id": "dev-0", "text": "..."}                     made of dev.jsonl, for ``t1 eval``
    qrels.dev.tsv          query-id, corpus-id, score                          likewise

Each line of a split is one :class:`Example`. ``negatives`` and ``part`` may be left out. A file may be gzipped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from t1_vectorstore.errors import CorpusError
from t1_vectorstore.readers.lines import Lines, raise_error
from t1_vectorstore.readers.records import numbered_jsonl

CORPUS = "corpus.jsonl"
TRAIN = "train"


@dataclass(frozen=True)
class Example:
    """A query and what it should find.

    Attributes:
        query: The text asked.
        thought: What to think about it; None if it is only trained without thinking. The empty one is closed at once:
            it teaches the model not to think about such queries.
        positives: Ids of the right documents, at least one.
        negatives: Ids of wrong documents that are easily taken for right ones, possibly none.
        part: Of the data, so that a recipe can mix the parts; possibly none.
    """

    query: str
    thought: str | None
    positives: tuple[str, ...]
    negatives: tuple[str, ...] = ()
    part: str | None = None


class _Line(BaseModel):
    """One line of a split."""

    model_config = ConfigDict(extra="forbid", strict=True)

    query: str = Field(min_length=1)
    thought: str | None
    positives: list[str] = Field(min_length=1)
    negatives: list[str] = []
    part: str | None = None


@dataclass(frozen=True)
class TrainingData:
    """A corpus and one split over it.

    Attributes:
        documents: Text by id, in the order of the file.
        examples: Of the split, in the order of the file.
    """

    documents: Mapping[str, str]
    examples: tuple[Example, ...]


def read_data(folder: str | Path, split: str = TRAIN) -> TrainingData:
    """Read the corpus and one split.

    Raises:
        CorpusError: A file is missing or empty; or a line of it is malformed, repeats another one, or names a document
            that the corpus lacks. The message has the file and the line.
    """
    documents = read_corpus(Path(folder))
    return TrainingData(documents, tuple(read_split(Path(folder), split, documents)))


def read_corpus(folder: Path) -> dict[str, str]:
    """Read the documents, text by id; raises as :func:`read_data`."""
    path = _file(folder, CORPUS)
    documents: dict[str, str] = {}
    for number, document in numbered_jsonl(path):
        if document.id is None or not document.text.strip():
            raise CorpusError(f"{path}:{number}: the document has no {'id' if document.id is None else 'text'}")
        if document.id in documents:
            raise CorpusError(f"{path}:{number}: a document before it has the id {document.id!r} too")
        documents[document.id] = document.text
    if not documents:
        raise CorpusError(f"{path} holds no documents")
    return documents


def thoughtful(data: TrainingData) -> TrainingData:
    """The same with only the examples that have a thought."""
    return TrainingData(data.documents, tuple(example for example in data.examples if example.thought is not None))


def splits(folder: Path) -> list[str]:
    """The names of the folder's splits, sorted; files of queries, which are made of splits, are none."""
    names = {path.name.removesuffix(".gz").removesuffix(".jsonl") for path in folder.glob("*.jsonl*") if path.is_file()}
    return sorted(name for name in names if name != "corpus" and not name.startswith("queries."))


def read_split(folder: Path, split: str, documents: Mapping[str, str]) -> list[Example]:
    """Read the examples of a split over these documents; raises as :func:`read_data`."""
    path = _file(folder, f"{split}.jsonl")
    seen: dict[tuple[object, ...], int] = {}
    examples = []
    for number, example in _examples(path):
        if unknown := [name for name in (*example.positives, *example.negatives) if name not in documents]:
            raise CorpusError(f"{path}:{number}: the corpus has no document {unknown[0]!r}")
        if both := set(example.positives) & set(example.negatives):
            raise CorpusError(f"{path}:{number}: {min(both)!r} is a positive and a negative")
        key = _identity(example)
        if key in seen:
            raise CorpusError(f"{path}:{number}: repeats line {seen[key]}; remove one of them")
        seen[key] = number
        examples.append(example)
    if not examples:
        raise CorpusError(f"{path} holds no examples: the split is empty")
    return examples


def write_data(folder: Path, documents: Mapping[str, str], splits: Mapping[str, Iterable[Example]]) -> dict[str, int]:
    """Write a corpus and its splits; those that are not ``train`` also in BEIR's format.

    What is written is read back with all of :func:`read_data`'s checks. Examples that repeat another one are left out.

    Returns:
        The number of documents (``corpus``) and of examples of each split.

    Raises:
        CorpusError: A split is empty, and nothing is written; or as :func:`read_data`.
    """
    distinct = {split: list({_identity(e): e for e in examples}.values()) for split, examples in splits.items()}
    if empty := [split for split, examples in distinct.items() if not examples]:
        raise CorpusError(f"no examples for {', '.join(empty)}: ask for more; nothing was written to {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    _write_lines(folder / CORPUS, ({"_id": name, "text": text} for name, text in documents.items()))
    counts = {"corpus": len(documents)}
    for split, examples in distinct.items():
        _write_lines(folder / f"{split}.jsonl", (asdict(example) for example in examples))
        if split != TRAIN:
            _write_beir(folder, split, examples)
        counts[split] = len(read_split(folder, split, documents))
    return counts


def _identity(example: Example) -> tuple[object, ...]:
    return example.query, example.thought, tuple(sorted(example.positives))


def _write_beir(folder: Path, split: str, examples: list[Example]) -> None:
    judged: dict[str, dict[str, None]] = {}
    for example in examples:  # one query may have several thoughts
        judged.setdefault(example.query, {}).update(dict.fromkeys(example.positives))
    queries = {query: f"{split}-{row}" for row, query in enumerate(judged)}
    _write_lines(folder / f"queries.{split}.jsonl", ({"_id": name, "text": text} for text, name in queries.items()))
    lines = [f"{queries[query]}\t{document}\t1\n" for query, documents in judged.items() for document in documents]
    text = "".join(["query-id\tcorpus-id\tscore\n", *lines])
    (folder / f"qrels.{split}.tsv").write_text(text, encoding="utf-8")


def _examples(path: Path) -> Iterator[tuple[int, Example]]:
    lines = Lines(path, raise_error)
    for line in lines:
        if broken := lines.take_error():
            raise broken
        if not line.strip():
            continue
        try:
            record = _Line.model_validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"])) or "line"
            told = re.sub(r" at line \d+", " at", first["msg"])  # that counts within the line, from its end
            raise CorpusError(f"{path}:{lines.number}: {field}: {told}") from None
        if not record.query.strip():
            raise CorpusError(f"{path}:{lines.number}: query: it is white space")
        positives, negatives = tuple(record.positives), tuple(record.negatives)
        yield lines.number, Example(record.query, record.thought, positives, negatives, record.part)


def _file(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    if not folder.is_dir():
        raise CorpusError(f"{folder} is no folder: make one with t1 data")
    raise CorpusError(f"{folder} has no {name}: make the folder with t1 data, or see t1_vectorstore.training.examples")


def _write_lines(path: Path, records: Iterable[Mapping[str, object]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
