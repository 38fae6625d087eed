"""Read files with many documents: JSON Lines, CSV and TSV."""

from __future__ import annotations

import codecs
import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from t1_vectorstore.errors import CorpusError
from t1_vectorstore.readers.blobs import Blobs
from t1_vectorstore.readers.lines import (
    Lines,
    OnBytes,
    OnError,
    content_suffix,
    corpus_error,
    ignore_bytes,
    raise_error,
    warn,
)
from t1_vectorstore.readers.values import column_parsers, convert
from t1_vectorstore.types import Document, IndexKind

FAILURE_FIELD = "t1_failure"
"""Field of a dead letter (see ``indexing.dead_letters``) with the reason of its failure; not part of the document."""

_MAX_RESTARTS = 100
"""Maximum number of rows with such quotes after which the lines that they swallow are read; each costs reading the
file up to there again."""
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
        kinds: Kinds of metadata fields, as they are indexed: ``integer``, ``float``, ``bool`` and ``datetime`` are
            parsed, also from strings, and another value is an error. In CSV files, columns that hold numbers, or true
            and false, throughout are such without being named; numbers with leading zeros stay text.
        encoding: Encoding of text files. Default: UTF-8, or UTF-16 if a file begins like that.
    """

    text: str | None = None
    id: str | None = None
    metadata: str = "metadata"
    kinds: Mapping[str, IndexKind] = field(default_factory=dict)
    encoding: str | None = None

    def __post_init__(self) -> None:
        """Refuse an encoding that Python does not know."""
        if self.encoding is not None:
            try:
                codecs.lookup(self.encoding)
            except LookupError:
                raise ValueError(f"unknown encoding {self.encoding!r}; examples are utf-8, cp1252, utf-16") from None

    def document(self, record: Mapping[str, Any], blobs: Blobs | None = None) -> Document:
        """Convert one record; ``blobs`` leaves embedded files out of its text.

        Raises:
            ValueError: A field is missing or has the wrong type.
        """
        rest = {name: value for name, value in record.items() if name != FAILURE_FIELD}
        text_field = self.text or "text"
        if text_field not in rest:
            if FAILURE_FIELD in record:
                raise ValueError(f"a dead letter without a document; fix it in its source: {record[FAILURE_FIELD]}")
            remedy = "" if self.text else "; say which one holds the text (--text-field)"
            raise ValueError(f"{_missing(text_field, rest)}{remedy}")
        text = rest.pop(text_field)
        if not isinstance(text, str):
            raise ValueError(f"field {text_field!r} must be a string, got {type(text).__name__}")
        title = rest.get("title")
        if self.text is None and isinstance(title, str):
            text = f"{title} {text}".strip()
        more = rest.pop(self.metadata, None)
        if isinstance(more, str):  # a table has JSON in its cells
            more = _object(more) if more else None
        if more is not None and not isinstance(more, Mapping):
            raise ValueError(f"field {self.metadata!r} must be an object, got {type(more).__name__}")
        name = self._take_id(rest)
        metadata = {**rest, **(more or {})}
        convert(metadata, self.kinds)
        return Document(blobs.without(text) if blobs else text, id=name, metadata=metadata)

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


def _object(text: str) -> Any:  # noqa: ANN401 - JSON
    """Return the JSON in a text, or the text if it is not JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _missing(name: str, record: Mapping[str, Any]) -> str:
    return f"no field {name!r}; the record has {', '.join(map(repr, record)) or 'none'}"


def read_jsonl(
    path: str | Path,
    *,
    fields: Fields = Fields(),
    on_error: OnError = raise_error,
    on_skip: OnError = warn,
    on_bytes: OnBytes = ignore_bytes,
) -> Iterator[Document]:
    """Read one document from each line of a file, plain or ``.gz``. Blank lines are skipped.

    Args:
        path: The file, or ``-`` for standard input.
        fields: Which fields hold the text, the id and the metadata.
        on_error: Called with each line that cannot be read, instead of raising ``CorpusError``.
        on_skip: Called, instead of warning, with the number of embedded files that were left out.
        on_bytes: Called with the number of bytes read since the last call.
    """
    numbered = numbered_jsonl(path, fields=fields, on_error=on_error, on_skip=on_skip, on_bytes=on_bytes)
    return (document for _, document in numbered)


def numbered_jsonl(
    path: str | Path,
    *,
    fields: Fields = Fields(),
    on_error: OnError = raise_error,
    on_skip: OnError = warn,
    on_bytes: OnBytes = ignore_bytes,
) -> Iterator[tuple[int, Document]]:
    """Like ``read_jsonl``, but yield each document with the number of its line, from 1."""
    path = Path(path)
    lines, blobs = Lines(path, on_error, on_bytes, encoding=fields.encoding), Blobs()
    for line in lines:
        try:
            if error := lines.take_error():
                raise error
            if not line.strip():
                continue
            document = fields.document(_json_object(line), blobs)
        except (CorpusError, ValueError, RecursionError) as problem:
            on_error(corpus_error(problem, f"{path}:{lines.number}"))
        else:
            yield lines.number, document
    blobs.report(path, on_skip)


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
    on_skip: OnError = warn,
    on_bytes: OnBytes = ignore_bytes,
) -> Iterator[Document]:
    """Read one document from each row of a file with a header, plain or ``.gz``. In ``.tsv``, tabs separate the cells.

    The file is read twice: first for the types of its columns, which must not depend on how far a load has come. A row
    with a quote that is never closed is an error of this row only: reading goes on with the line after its first one.

    Args:
        path: The file.
        fields: Which columns hold the text, the id and the metadata, and of which kinds they are.
        on_error: Called with each row that cannot be read, instead of raising ``CorpusError``.
        on_skip: Called, instead of warning, with the number of embedded files that were left out.
        on_bytes: Called with the number of bytes read since the last call.
    """
    path = Path(path)
    csv.field_size_limit(_MAX_CELL)
    parsers = _column_parsers(path, fields)
    blobs = Blobs()
    header: list[str] | None = None
    for where, row in _csv_rows(path, fields, on_error, on_bytes):
        try:
            if header is None:
                _check_header(row, fields)
                header = row
                continue
            if not row:  # a blank line
                continue
            if len(row) != len(header):
                raise ValueError(f"{len(row)} cells under a header of {len(header)}")
            cells = zip(header, row, strict=True)
            record = {name: parsers[name](cell) if name in parsers else cell for name, cell in cells}
            document = fields.document(record, blobs)
        except ValueError as problem:
            on_error(corpus_error(problem, where))
            if header is None:
                return
        else:
            yield document
    blobs.report(path, on_skip)


def _csv_rows(path: Path, fields: Fields, on_error: OnError, on_bytes: OnBytes) -> Iterator[tuple[str, list[str]]]:
    """Yield each row that can be parsed, with the place where it begins."""
    delimiter = "\t" if content_suffix(path) == ".tsv" else ","
    skip, restarts, again, first = 0, 0, True, True
    while again:
        again = False
        lines = Lines(path, on_error, ignore_bytes if skip else on_bytes, encoding=fields.encoding, skip=skip)
        rows = csv.reader(lines, strict=True, delimiter=delimiter)
        while not again:
            start = max(lines.number, skip) + 1
            where = f"{path}:{start}"
            try:
                row = next(rows)
                if error := lines.take_error():
                    raise error
            except StopIteration:
                return
            except (csv.Error, CorpusError) as problem:
                if isinstance(problem, csv.Error) and lines.number > start and restarts < _MAX_RESTARTS:
                    # A quote that is not closed here has swallowed lines. Read on after the row's first one.
                    problem = CorpusError(f"{where}: a quote that this row opens is not closed, or not written twice")
                    skip, restarts, again = start, restarts + 1, True
                on_error(lines.take_error() or corpus_error(problem, where))
                if first:
                    return
            else:
                yield where, row
            first = False


def _column_parsers(path: Path, fields: Fields) -> dict[str, Callable[[str], Any]]:
    """Find out the types of the columns, without reporting errors: the second reading does."""
    rows = (row for _, row in _csv_rows(path, fields, lambda _: None, ignore_bytes))
    header = next(rows, None)
    if header is None:
        return {}
    ids = {fields.id} if fields.id else {"id", "_id"}
    return column_parsers(rows, header, {fields.text or "text", "title", fields.metadata, *ids, *fields.kinds})


def _check_header(header: list[str], fields: Fields) -> None:
    for name in (fields.text or "text", fields.id):
        if name is not None and name not in header:
            remedy = "" if fields.text or name == fields.id else "; say which one holds the text (--text-field)"
            if len(header) == 1 and (delimiter := next((each for each in ";\t|" if each in header[0]), None)):
                remedy = f"; its cells are separated by {delimiter!r}: save it with commas, or as .tsv with tabs"
            raise ValueError(f"no column {name!r}; the header has {', '.join(map(repr, header))}{remedy}")
    if repeated := {name for name in header if header.count(name) > 1}:
        raise ValueError(f"column {min(repeated)!r} is in the header more than once")
