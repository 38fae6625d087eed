"""A user's own judgements on a user's own index: JSON Lines such as clicks, plain or gzipped.

    {"query": "who may open a trust account?", "positives": ["policy-17"]}
    {"query": "fees of a second card", "positives": {"fees-2026": 2, "fees-2025": 1}, "id": "q2", "excluded": []}

``positives`` are ids of documents, alone or with their gains; lines with one query are one query, under the first id
that any of them has. A query without an id is called by its line, such as ``q3``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

from t1_vectorstore.errors import CorpusError
from t1_vectorstore.evaluation.benchmark import Benchmark, demand_all
from t1_vectorstore.indexing.chunking import chunk_id
from t1_vectorstore.readers import Fields
from t1_vectorstore.readers.records import numbered_jsonl

if TYPE_CHECKING:
    from t1_vectorstore.collection import Collection


@dataclass(frozen=True)
class _Judgement:
    """One line of the file."""

    number: int
    query: str
    id: str | None
    gains: Mapping[str, int]
    excluded: frozenset[str]


def read_labels(path: str | Path, collection: Collection) -> Benchmark:
    """Read judgements, and make sure that the index holds every document they name.

    Raises:
        CorpusError: a malformed line, or an id that two queries have (file and line); or a document that is not in the
            index.
    """
    path = Path(path)
    judgements = list(_judgements(path))
    names = _names(judgements, path)
    relevant: dict[str, dict[str, int]] = {}
    excluded: dict[str, frozenset[str]] = {}
    for each in judgements:
        query = names[each.query]
        relevant.setdefault(query, {}).update(each.gains)
        excluded[query] = excluded.get(query, frozenset()) | each.excluded
    named = {document for gains in relevant.values() for document in gains}
    demand_all(str(path), named - _documents(collection, named))
    return Benchmark(path.name, None, {name: text for text, name in names.items()}, relevant, excluded)


def _judgements(path: Path) -> Iterator[_Judgement]:
    for number, record in numbered_jsonl(path, fields=Fields(text="query")):
        where = f"{path}:{number}"
        if not record.text.strip():
            raise CorpusError(f"{where}: 'query' must be a text, got {record.text!r}")
        gains = _gains(record.metadata.get("positives"), where)
        excluded = _excluded(record.metadata.get("excluded"), where)
        yield _Judgement(number, record.text, record.id, gains, excluded)


def _names(judgements: Sequence[_Judgement], path: Path) -> dict[str, str]:
    """An id for each query's text, in the order of the file."""
    given: dict[str, str] = {}
    owners: dict[str, _Judgement] = {}
    for each in judgements:
        if each.id is None:
            continue
        owner = owners.setdefault(each.id, each)
        if owner.query != each.query:
            raise CorpusError(f"{path}:{each.number}: another query, on line {owner.number}, has the id {each.id!r}")
        given.setdefault(each.query, each.id)
    names: dict[str, str] = {}
    for each in judgements:
        if each.query not in names:
            names[each.query] = given.get(each.query) or _free(f"q{each.number}", owners)
    return names


def _free(name: str, taken: Mapping[str, _Judgement]) -> str:
    while name in taken:
        name = f"q{name}"
    return name


def _documents(collection: Collection, wanted: set[str]) -> set[str]:
    """Which of these documents the index holds, whole or in chunks."""
    ids = {identifier: name for name in wanted for identifier in (name, chunk_id(name, 0))}
    return {ids[identifier] for identifier in collection.content_hashes(ids)}


def _gains(positives: object, where: str) -> dict[str, int]:
    if _is_ids(positives):
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


def _excluded(ids: object, where: str) -> frozenset[str]:
    if ids is None:
        return frozenset()
    if not _is_ids(ids):
        raise CorpusError(f"{where}: 'excluded' must be a list of document ids, got {ids!r}")
    return frozenset(ids)


def _is_ids(found: object) -> TypeGuard[list[str]]:
    return isinstance(found, list) and all(isinstance(name, str) for name in found)
