"""Read Parquet files, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import Any

from t1_vectorstore.errors import CorpusError, MissingExtraError
from t1_vectorstore.readers.blobs import Blobs
from t1_vectorstore.readers.lines import OnBytes, OnError, corpus_error, ignore_bytes, raise_error, warn
from t1_vectorstore.readers.records import Fields
from t1_vectorstore.readers.values import INT64
from t1_vectorstore.types import Document

_BATCH_ROWS = 256
_BUFFER_BYTES = 1 << 20  # per column; without a buffer, a column's part of the whole row group would be in memory


def read_parquet(
    path: str | Path,
    *,
    fields: Fields = Fields(),
    on_error: OnError = raise_error,
    on_skip: OnError = warn,
    on_bytes: OnBytes = ignore_bytes,
) -> Iterator[Document]:
    """Read one document from each row. A few hundred rows are in memory at a time, however large the row groups are.

    Metadata is JSON: dates and times become ISO 8601 strings, as a ``datetime`` index expects them, and decimals become
    numbers, whole ones of a column without decimal places integers.

    Args:
        path: The file.
        fields: Which columns hold the text, the id and the metadata.
        on_error: Called with each row that cannot be read, instead of raising ``CorpusError``.
        on_skip: Called, instead of warning, with the number of embedded files that were left out.
        on_bytes: Called with the number of bytes read since the last call, estimated from the number of rows.

    Raises:
        MissingExtraError: The extra ``parquet`` is not installed.
    """
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ModuleNotFoundError as error:
        raise MissingExtraError("parquet", f"reading {path}") from error
    blobs = Blobs()
    try:
        with ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file:
            bytes_per_row = Path(path).stat().st_size / max(1, file.metadata.num_rows)
            number = reported = 0
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                for row in range(batch.num_rows):
                    number += 1
                    try:  # row by row: one value that Python does not have is no reason to lose the others
                        [record] = batch.slice(row, 1).to_pylist()
                        document = fields.document(_to_json(record), blobs)
                    except (ValueError, OverflowError) as error:
                        on_error(corpus_error(error, f"{path}, row {number}"))
                    else:
                        yield document
                position = round(number * bytes_per_row)
                on_bytes(position - reported)
                reported = position
        blobs.report(Path(path), on_skip)
    except (ArrowException, OSError) as error:
        on_error(CorpusError(f"{path} cannot be read as Parquet: {error}"))


def _to_json(value: Any) -> Any:  # noqa: ANN401 - any value of a column
    if isinstance(value, dict):
        return {name: _to_json(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_to_json(inner) for inner in value]
    if isinstance(value, date | time):  # a datetime is a date
        return value.isoformat()
    return _number(value) if isinstance(value, Decimal) else value


def _number(value: Decimal) -> int | float:
    """Return a decimal of a column without decimal places, such as ids, as an integer, and others as floats.

    So is a whole number that a float cannot hold.
    """
    number = float(value)
    if value != value.to_integral_value():
        return number
    whole = int(value)
    without_places = value.as_tuple().exponent >= 0 and -INT64 <= whole < INT64  # type: ignore[operator] # it is finite
    return whole if without_places or number != value else number
