"""A user's own judgements on a user's own index: JSON Lines such as clicks.

    {"query": "who may open a trust account?", "positives": ["policy-17"]}
    {"query": "fees of a second card", "positives": {"fees-2026": 2, "fees-2025": 1}, "id": "q2", "excluded": []}

``positives`` are ids of documents, alone or with their gains; lines with one query are one query.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t1_vectorstore.chunking import chunk_id
from t1_vectorstore.errors import CorpusError
from t1_vectorstore.evaluation.benchmark import Benchmark, demand_all

if TYPE_CHECKING:
    from t1_vectorstore.store import Collection


def read_labels(path: str | Path, collection: Collection) -> Benchmark:
    """Read judgements, and make sure that the index holds every document they name.

    Raises:
        CorpusError: a malformed line (file and line), or a document that is not in the index.
    """
    path = Path(path)
    queries: dict[str, str] = {}
    relevant: dict[str, dict[str, int]] = {}
    excluded: dict[str, frozenset[str]] = {}
    names: dict[str, str] = {}
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        record = _record(line, where)
        text = _text(record, where)
        query = names.setdefault(text, str(record.get("id", f"q{number}")))
        queries[query] = text
        relevant.setdefault(query, {}).update(_gains(record.get("positives"), where))
        excluded[query] = excluded.get(query, frozenset()) | frozenset(map(str, record.get("excluded") or ()))
    named = {document for gains in relevant.values() for document in gains}
    demand_all(str(path), named - _documents(collection, named))
    return Benchmark(path.name, None, queries, relevant, excluded)


def _documents(collection: Collection, wanted: set[str]) -> set[str]:
    """Which of these documents the index holds, whole or in chunks."""
    ids = {identifier: name for name in wanted for identifier in (name, chunk_id(name, 0))}
    return {ids[identifier] for identifier in collection.content_hashes(ids)}


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"{path} cannot be read: {error}") from error


def _record(line: str, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise CorpusError(f"{where}: not JSON: {error}") from error
    if not isinstance(record, dict):
        raise CorpusError(f"{where}: a line must hold a JSON object, got {type(record).__name__}")
    return record


def _text(record: dict[str, Any], where: str) -> str:
    text = record.get("query")
    if not isinstance(text, str) or not text.strip():
        raise CorpusError(f"{where}: 'query' must be a text, got {text!r}")
    return text


def _gains(positives: object, where: str) -> dict[str, int]:
    if isinstance(positives, list) and all(isinstance(name, str) for name in positives):
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
