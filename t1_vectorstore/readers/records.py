"""Many documents per file: JSON Lines, CSV and TSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t1_vectorstore.errors import CorpusError
from t1_vectorstore.readers.lines import Lines, OnBytes, OnError, ignore_bytes, kind, raise_error
from t1_vectorstore.types import Document

REASON = "t1_failure"
"""The field of a dead letter (see ``ingest``) that says why its document was not stored; no part of the document."""

_LARGEST_CELL = 2**31 - 1  # characters; the csv module refuses more than 131,072 unless told


@dataclass(frozen=True, slots=True)
class Fields:
    """Which fields of a record hold what.

    With the defaults, records of the forms ``{"id", "text", "metadata"}`` and BEIR's ``{"_id", "title", "text"}`` are
    understood; a title is put before the text, as BEIR's retrievers do, and stays in the metadata. Every field that has
    no part here becomes metadata too.

    Attributes:
        text: the field of the text. ``None``: ``text``, after ``title`` where a record has one.
        id: the field of the id, a string or an integer. ``None``: ``id`` or else ``_id``; a document may have none.
        metadata: the field of an object with more metadata, which wins over fields of the same name.
    """

    text: str | None = None
    id: str | None = None
    metadata: str = "metadata"

    def document(self, record: Mapping[str, Any]) -> Document:
        """Make a document of one record.

        Raises:
            ValueError: the record does not have these fields, or they hold something else.
        """
        rest = {name: value for name, value in record.items() if name != REASON}
        name = self.text or "text"
        if name not in rest and REASON in record:
            raise ValueError(f"a dead letter without a document, to be mended in its source: {record[REASON]}")
        if name not in rest and self.text is None:
            raise ValueError(f"{_lacks(rest, name)}; say which one holds the text (--text-field)")
        text = _take(rest, name)
        if not isinstance(text, str):
            raise ValueError(f"field {name!r} must be a string, got {type(text).__name__}")
        title = rest.get("title")
        if self.text is None and isinstance(title, str):
            text = f"{title} {text}".strip()
        more = rest.pop(self.metadata, None)
        if more is not None and not isinstance(more, Mapping):
            raise ValueError(f"field {self.metadata!r} must be an object, got {type(more).__name__}")
        return Document(text, id=self._take_id(rest), metadata={**rest, **(more or {})})

    def _take_id(self, rest: dict[str, Any]) -> str | None:
        if self.id is not None:
            value = _take(rest, self.id)
        else:
            value = rest.pop("id", None) if "id" in rest else rest.pop("_id", None)
            if value is None:
                return None
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise ValueError(f"field {self.id or 'id'!r} must be a string or an integer, got {type(value).__name__}")
        return str(value)


def _take(record: dict[str, Any], name: str) -> Any:  # noqa: ANN401 - whatever the file holds
    if name not in record:
        raise ValueError(_lacks(record, name))
    return record.pop(name)


def _lacks(record: Mapping[str, Any], name: str) -> str:
    return f"no field {name!r}; the record has {', '.join(map(repr, record)) or 'none'}"


def read_jsonl(
    path: str | Path,
    *,
    fields: Fields = Fields(),
    on_error: OnError = raise_error,
    on_bytes: OnBytes = ignore_bytes,
) -> Iterator[Document]:
    """Read one document from each line, plain or ``.gz``; blank lines are skipped.

    Args:
        path: the file, or ``-`` for standard input.
        fields: which fields hold what.
        on_error: called with each line that cannot be read instead of raising ``CorpusError``.
        on_bytes: told how much more of the file has been read.
    """
    return (document for _, document in numbered_jsonl(path, fields=fields, on_error=on_error, on_bytes=on_bytes))


def numbered_jsonl(
    path: str | Path,
    *,
    fields: Fields = Fields(),
    on_error: OnError = raise_error,
    on_bytes: OnBytes = ignore_bytes,
) -> Iterator[tuple[int, Document]]:
    """As :func:`read_jsonl`, each document with the number of its line, from 1."""
    path = Path(path)
    lines = Lines(path, on_error, on_bytes)
    for line in lines:
        if error := lines.take_error():
            on_error(error)
        elif line.strip():
            for document in _json_document(line, fields, f"{path}:{lines.number}", on_error):
                yield lines.number, document


def _json_document(line: str, fields: Fields, where: str, on_error: OnError) -> Iterator[Document]:
    try:
        record = json.loads(line, parse_constant=_refuse)
        if not isinstance(record, dict):
            raise ValueError(f"a line must hold a JSON object, got {type(record).__name__}")
        document = fields.document(record)
    except json.JSONDecodeError as error:
        on_error(CorpusError(f"{where}: not JSON: {error.msg} at column {error.colno}"))
    except (ValueError, RecursionError) as error:
        on_error(CorpusError(f"{where}: {error}"))
    else:
        yield document


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def read_csv(
    path: str | Path,
    *,
    fields: Fields = Fields(),
    on_error: OnError = raise_error,
    on_bytes: OnBytes = ignore_bytes,
) -> Iterator[Document]:
    """Read one document from each row of a file with a header, plain or ``.gz``; ``.tsv`` is separated by tabs.

    Args:
        path: the file.
        fields: which columns hold what.
        on_error: called with each row that cannot be read instead of raising ``CorpusError``.
        on_bytes: told how much more of the file has been read.
    """
    path = Path(path)
    csv.field_size_limit(_LARGEST_CELL)
    lines = Lines(path, on_error, on_bytes)
    rows = csv.reader(lines, strict=True, delimiter="\t" if kind(path) == ".tsv" else ",")
    header: list[str] | None = None
    while True:
        where = f"{path}:{lines.number + 1}"
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            on_error(lines.take_error() or CorpusError(f"{where}: {error}"))
            if header is None:
                return
            continue
        if wrong := lines.take_error():
            on_error(wrong)
            if header is None:
                return
        elif header is None:
            header = row
            if complaint := _complaint(header, fields):
                on_error(CorpusError(f"{where}: {complaint}"))
                return
        elif row:  # a blank line is an empty row
            yield from _csv_document(header, row, fields, where, on_error)


def _complaint(header: list[str], fields: Fields) -> str | None:
    for name in (fields.text or "text", fields.id):
        if name is not None and name not in header:
            remedy = "" if name == fields.id else "; say which one holds the text (--text-field)"
            return f"no column {name!r}; the header has {', '.join(map(repr, header))}{remedy}"
    if twice := {name for name in header if header.count(name) > 1}:
        return f"column {min(twice)!r} stands twice in the header"
    return None


def _csv_document(
    header: list[str], row: list[str], fields: Fields, where: str, on_error: OnError
) -> Iterator[Document]:
    try:
        if len(row) != len(header):
            raise ValueError(f"{len(row)} cells under a header of {len(header)}")
        document = fields.document(dict(zip(header, row, strict=True)))
    except ValueError as error:
        on_error(CorpusError(f"{where}: {error}"))
    else:
        yield document
