"""Parquet files, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from t1_vectorstore.corpora.lines import OnError, raise_error
from t1_vectorstore.corpora.records import Fields
from t1_vectorstore.errors import CorpusError, MissingExtraError
from t1_vectorstore.types import Document

_BATCH_ROWS = 1024


def read_parquet(path: str | Path, *, fields: Fields = Fields(), on_error: OnError = raise_error) -> Iterator[Document]:
    """Read one document from each row; some thousand rows are in memory at a time.

    Args:
        path: the file.
        fields: which columns hold what.
        on_error: called with each row that cannot be read instead of raising ``CorpusError``.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ModuleNotFoundError as error:
        raise MissingExtraError("parquet", f"reading {path}") from error
    try:
        with ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                for record in batch.to_pylist():
                    number += 1
                    try:
                        document = fields.document(record)
                    except ValueError as error:
                        on_error(CorpusError(f"{path}, row {number}: {error}"))
                    else:
                        yield document
    except (ArrowException, OSError) as error:
        on_error(CorpusError(f"{path} cannot be read as Parquet: {error}"))
