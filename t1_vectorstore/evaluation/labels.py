"""Relevance judgements of users on their own index, such as clicks: JSON Lines, plain or gzipped.

    {"query": "who may open a trust account?", "positives": ["policy-17"]}
    {"query": "fees of a second card", "positives": {"fees-2026": 2, "fees-2025": 1}, "id": "q2", "excluded": []}

``positives`` are document ids, alone or with their gains. Lines with the same query are merged, under the first id that
one of them has. A query without an id is named by its line, such as ``q3``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

from t1_vectorstore.errors import CorpusError
from t1_vectorstore.evaluation.benchmark import Benchmark, refuse_missing
from t1_vectorstore.readers import Fields
from t1_vectorstore.readers.records import numbered_jsonl

if TYPE_CHECKING:
    from t1_vectorstore.collection import Collection


@dataclass(frozen=True)
class _Judgement:
    """One line of the file."""

    line: int
    query: str
    id: str | None
    gains: Mapping[str, int]
    excluded: frozenset[str]


def read_labels(path: str | Path, collection: Collection) -> Benchmark:
    """Read judgements, and check that the index holds every document that they name.

    Raises:
        CorpusError: A malformed line or an id of two queries (file and line), or a document that is not in the index.
    """
    path = Path(path)
    judgements = list(_judgements(path))
    ids = _query_ids(judgements, path)
    relevant: dict[str, dict[str, int]] = {}
    excluded: dict[str, frozenset[str]] = {}
    for judgement in judgements:
        query = ids[judgement.query]
        relevant.setdefault(query, {}).update(judgement.gains)
        excluded[query] = excluded.get(query, frozenset()) | judgement.excluded
    documents = {document for gains in relevant.values() for document in gains}
    refuse_missing(str(path), documents - indexed_documents(collection, documents))
    return Benchmark(path.name, None, {query: text for text, query in ids.items()}, relevant, excluded)


def _judgements(path: Path) -> Iterator[_Judgement]:
    for line, record in numbered_jsonl(path, fields=Fields(text="query")):
        where = f"{path}:{line}"
        if not record.text.strip():
            raise CorpusError(f"{where}: 'query' must be a text, got {record.text!r}")
        gains = _gains(record.metadata.get("positives"), where)
        excluded = record.metadata.get("excluded")
        excluded = [] if excluded is None else excluded
        if not _is_id_list(excluded):
            raise CorpusError(f"{where}: 'excluded' must be a list of document ids, got {excluded!r}")
        yield _Judgement(line, record.text, record.id, gains, frozenset(excluded))


def _query_ids(judgements: Sequence[_Judgement], path: Path) -> dict[str, str]:
    """Return an id for each query text, in the order of the file."""
    given: dict[str, str] = {}
    owners: dict[str, _Judgement] = {}
    for judgement in judgements:
        if judgement.id is None:
            continue
        owner = owners.setdefault(judgement.id, judgement)
        if owner.query != judgement.query:
            raise CorpusError(
                f"{path}:{judgement.line}: another query, on line {owner.line}, has the id {judgement.id!r}"
            )
        given.setdefault(judgement.query, judgement.id)
    ids: dict[str, str] = {}
    for judgement in judgements:
        if judgement.query not in ids:
            ids[judgement.query] = given.get(judgement.query) or _unused(f"q{judgement.line}", owners)
    return ids


def _unused(name: str, taken: Mapping[str, _Judgement]) -> str:
    while name in taken:
        name = f"q{name}"
    return name


def indexed_documents(collection: Collection, documents: set[str]) -> set[str]:
    """Return those of the documents that the index holds, whole or in chunks, also if another package wrote them."""
    return documents - set(collection.unknown_documents(documents))


def _gains(positives: object, where: str) -> dict[str, int]:
    if _is_id_list(positives):
        gains = dict.fromkeys(positives, 1)
    elif isinstance(positives, dict) and all(type(gain) is int and gain > 0 for gain in positives.values()):
        gains = dict(positives)
    else:
        raise CorpusError(
            f"{where}: 'positives' must be a list of document ids, or an object of ids and whole gains above 0, "
            f"got {positives!r}"
        )
    if not gains:
        raise CorpusError(f"{where}: 'positives' is empty: there is nothing to find")
    return gains


def _is_id_list(found: object) -> TypeGuard[list[str]]:
    return isinstance(found, list) and all(isinstance(name, str) for name in found)
