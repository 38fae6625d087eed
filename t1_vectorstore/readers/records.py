"""Read files with many documents: JSON Lines, CSV and TSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t1_vectorstore.errors import CorpusError
from t1_vectorstore.readers.lines import (
    Lines,
    OnBytes,
    OnError,
    content_suffix,
    corpus_error,
    ignore_bytes,
    raise_error,
)
from t1_vectorstore.types import Document

FAILURE_FIELD = "t1_failure"
"""Field of a dead letter (see ``indexing.dead_letters``) with the reason of its failure; not part of the document."""

_MAX_CELL = 2**31 - 1  # in characters; the default of the csv module is 131,072


@dataclass(frozen=True, slots=True)
class Fields:
    """Which fields of a record hold the text, the id and the metadata.

    The defaults accept records such as ``{"id", "text", "metadata"}`` and BEIR's ``{"_id", "title", "text"}``. As in
    BEIR's retrievers, a title is put before the text; it also stays in the metadata. All other fields become metadata.

    Attributes:
        text: Field of the text. ``None``: ``text``, after ``title`` if the record has one.
        id: Field of the id, a string or an integer. ``None``: ``id``, else ``_id``; a record may have neither.
        metadata: Field of an object with more metadata, which takes precedence over fields of the same name.
    """

    text: str | None = None
    id: str | None = None
    metadata: str = "metadata"

    def document(self, record: Mapping[str, Any]) -> Document:
        """Convert one record.

        Raises:
            ValueError: A field is missing or has the wrong type.
        """
        rest = {name: value for name, value in record.items() if name != FAILURE_FIELD}
        text_field = self.text or "text"
        if text_field not in rest:
            if FAILURE_FIELD in record:
                raise ValueError(f"a dead letter without a document; fix it in its source: {record[FAILURE_FIELD]}")
            raise ValueError(f"{_missing(text_field, rest)}; say which one holds the text (--text-field)")
        text = rest.pop(text_field)
        if not isinstance(text, str):
            raise ValueError(f"field {text_field!r} must be a string, got {type(text).__name__}")
        title = rest.get("title")
        if self.text is None and isinstance(title, str):
            text = f"{title} {text}".strip()
        more = rest.pop(self.metadata, None)
        if more is not None and not isinstance(more, Mapping):
            raise ValueError(f"field {self.metadata!r} must be an object, got {type(more).__name__}")
        return Document(text, id=self._take_id(rest), metadata={**rest, **(more or {})})

    def _take_id(self, rest: dict[str, Any]) -> str | None:
        name = self.id
        if name is None:
            name = "id" if "id" in rest else "_id"
            if rest.get(name) is None:
                rest.pop(name, None)
                return None
        elif name not in rest:
            raise ValueError(_missing(name, rest))
        value = rest.pop(name)
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise ValueError(f"field {name!r} must be a string or an integer, got {type(value).__name__}")
        return str(value)


def _missing(name: str, record: Mapping[str, Any]) -> str:
    return f"no field {name!r}; the record has {', '.join(map(repr, record)) or 'none'}"


def read_jsonl(
    path: str | Path,
    *,
    fields: Fields = Fields(),
    on_error: OnError = raise_error,
    on_bytes: OnBytes = ignore_bytes,
) -> Iterator[Document]:
    """Read one document from each line of a file, plain or ``.gz``. Blank lines are skipped.

    Args:
        path: The file, or ``-`` for standard input.
        fields: Which fields hold the text, the id and the metadata.
        on_error: Called with each line that cannot be read, instead of raising ``CorpusError``.
        on_bytes: Called with the number of bytes read since the last call.
    """
    return (document for _, document in numbered_jsonl(path, fields=fields, on_error=on_error, on_bytes=on_bytes))


def numbered_jsonl(
    path: str | Path,
    *,
    fields: Fields = Fields(),
    on_error: OnError = raise_error,
    on_bytes: OnBytes = ignore_bytes,
) -> Iterator[tuple[int, Document]]:
    """Like ``read_jsonl``, but yield each document with the number of its line, from 1."""
    path = Path(path)
    lines = Lines(path, on_error, on_bytes)
    for line in lines:
        try:
            if error := lines.take_error():
                raise error
            if not line.strip():
                continue
            document = fields.document(_json_object(line))
        except (CorpusError, ValueError, RecursionError) as problem:
            on_error(corpus_error(problem, f"{path}:{lines.number}"))
        else:
            yield lines.number, document


def _json_object(line: str) -> dict[str, Any]:
    try:
        record = json.loads(line, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at column {error.colno}") from None
    if not isinstance(record, dict):
        raise ValueError(f"a line must hold a JSON object, got {type(record).__name__}")
    return record


def _refuse_constant(name: str) -> None:
    """Refuse NaN and the infinities, which Python's parser would accept."""
    raise ValueError(f"{name} is not JSON")


def read_csv(
    path: str | Path,
    *,
    fields: Fields = Fields(),
    on_error: OnError = raise_error,
    on_bytes: OnBytes = ignore_bytes,
) -> Iterator[Document]:
    """Read one document from each row of a file with a header, plain or ``.gz``. In ``.tsv``, tabs separate the cells.

    Args:
        path: The file.
        fields: Which columns hold the text, the id and the metadata.
        on_error: Called with each row that cannot be read, instead of raising ``CorpusError``.
        on_bytes: Called with the number of bytes read since the last call.
    """
    path = Path(path)
    csv.field_size_limit(_MAX_CELL)
    lines = Lines(path, on_error, on_bytes)
    rows = csv.reader(lines, strict=True, delimiter="\t" if content_suffix(path) == ".tsv" else ",")
    header: list[str] | None = None
    while True:
        where = f"{path}:{lines.number + 1}"
        try:
            row = next(rows)
            if error := lines.take_error():
                raise error
            if header is None:
                _check_header(row, fields)
                header = row
                continue
            if not row:  # a blank line
                continue
            if len(row) != len(header):
                raise ValueError(f"{len(row)} cells under a header of {len(header)}")
            document = fields.document(dict(zip(header, row, strict=True)))
        except StopIteration:
            return
        except (csv.Error, CorpusError, ValueError) as problem:
            on_error(lines.take_error() or corpus_error(problem, where))
            if header is None:
                return
        else:
            yield document


def _check_header(header: list[str], fields: Fields) -> None:
    for name in (fields.text or "text", fields.id):
        if name is not None and name not in header:
            remedy = "" if name == fields.id else "; say which one holds the text (--text-field)"
            raise ValueError(f"no column {name!r}; the header has {', '.join(map(repr, header))}{remedy}")
    if repeated := {name for name in header if header.count(name) > 1}:
        raise ValueError(f"column {min(repeated)!r} is in the header more than once")
