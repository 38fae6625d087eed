"""Parquet files, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import Any

from t1_vectorstore.errors import CorpusError, MissingExtraError
from t1_vectorstore.readers.lines import OnBytes, OnError, ignore_bytes, raise_error
from t1_vectorstore.readers.records import Fields
from t1_vectorstore.types import Document

_BATCH_ROWS = 256
_BUFFER_BYTES = 1 << 20  # read of a column at a time; without a buffer it is the column's part of a whole row group


def read_parquet(
    path: str | Path,
    *,
    fields: Fields = Fields(),
    on_error: OnError = raise_error,
    on_bytes: OnBytes = ignore_bytes,
) -> Iterator[Document]:
    """Read one document from each row; some hundred rows are in memory at a time, however large the row groups.

    Dates and times become ISO 8601 strings, as a ``datetime`` index of the field takes them, and decimals their digits:
    metadata is JSON.

    Args:
        path: the file.
        fields: which columns hold what.
        on_error: called with each row that cannot be read instead of raising ``CorpusError``.
        on_bytes: told how much more of the file has been read.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ModuleNotFoundError as error:
        raise MissingExtraError("parquet", f"reading {path}") from error
    try:
        with ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file:
            bytes_a_row = Path(path).stat().st_size / max(1, file.metadata.num_rows)
            number = told = 0
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                for record in batch.to_pylist():
                    number += 1
                    try:
                        document = fields.document(_plain(record))
                    except ValueError as error:
                        on_error(CorpusError(f"{path}, row {number}: {error}"))
                    else:
                        yield document
                reached = round(number * bytes_a_row)
                on_bytes(reached - told)
                told = reached
    except (ArrowException, OSError) as error:
        on_error(CorpusError(f"{path} cannot be read as Parquet: {error}"))


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever a column holds
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, date | time):  # a datetime is a date
        return value.isoformat()
    return str(value) if isinstance(value, Decimal) else value
