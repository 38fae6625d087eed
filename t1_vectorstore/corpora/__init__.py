"""Files to documents, lazily: one document is in memory at a time.

What is broken is a ``CorpusError`` that names the file, the line and the reason. It is raised, or handed to
``on_error``, behind which reading goes on with the next line or file. Files of a folder that no reader takes are
reported as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from t1_vectorstore.corpora.lines import OnError, kind, raise_error, warn
from t1_vectorstore.corpora.parquet import read_parquet
from t1_vectorstore.corpora.records import Fields, read_csv, read_jsonl
from t1_vectorstore.corpora.texts import TEXT_SUFFIXES, read_folder, read_text
from t1_vectorstore.errors import CorpusError
from t1_vectorstore.types import Document

RECORD_READERS = {
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".csv": read_csv,
    ".tsv": read_csv,
    ".parquet": read_parquet,
}

__all__ = ["Fields", "OnError", "check", "read", "read_csv", "read_folder", "read_jsonl", "read_parquet", "read_text"]


def read(
    paths: str | Path | Iterable[str | Path],
    *,
    fields: Fields = Fields(),
    on_error: OnError = raise_error,
    on_skip: OnError = warn,
) -> Iterator[Document]:
    """Read files and folders, each by its kind.

    A folder is read for text and Markdown. A file is read by its suffix: ``.txt``, ``.md``, ``.jsonl``, ``.csv``,
    ``.tsv``, each also followed by ``.gz``; and ``.parquet`` (extra ``parquet``).

    Args:
        paths: one path or several, read in this order.
        fields: which fields of JSONL, CSV and Parquet records hold what.
        on_error: called with each line or file that cannot be read, instead of raising ``CorpusError``.
        on_skip: called with each file of an unknown kind inside a folder, instead of warning.

    Raises:
        CorpusError: at once, before anything is read, if a path does not exist or is of an unknown kind.
    """
    sources = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    check(sources)
    return _read(sources, fields, on_error, on_skip)


def check(paths: Iterable[Path]) -> None:
    """Refuse paths that ``read`` has no reader for.

    Raises:
        CorpusError: a path does not exist or is of an unknown kind; the message lists the known ones.
    """
    for path in paths:
        if not path.exists():
            raise CorpusError(f"{path}: no such file or folder")
        if not path.is_dir() and kind(path) not in (*TEXT_SUFFIXES, *RECORD_READERS):
            known = ", ".join((*TEXT_SUFFIXES, *RECORD_READERS))
            raise CorpusError(
                f"{path}: no reader for {kind(path) or 'a file without a suffix'!r}; known: {known}; text also with .gz"
            )


def _read(paths: Iterable[Path], fields: Fields, on_error: OnError, on_skip: OnError) -> Iterator[Document]:
    for path in paths:
        if path.is_dir():
            yield from read_folder(path, on_error=on_error, on_skip=on_skip)
        elif kind(path) in TEXT_SUFFIXES:
            yield from read_text(path, on_error=on_error)
        else:
            yield from RECORD_READERS[kind(path)](path, fields=fields, on_error=on_error)
