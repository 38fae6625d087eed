"""Files to documents, lazily: one document is in memory at a time.

What is broken is a ``CorpusError`` that names the file, the line and the reason. It is raised, or handed to
``on_error``, behind which reading goes on with the next line or file. Files of a folder that no reader takes are
reported as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from t1_vectorstore.readers.folder import read_file, read_folder
from t1_vectorstore.readers.html import read_html
from t1_vectorstore.readers.lines import STDIN, OnBytes, OnError, ignore_bytes, kind, raise_error, warn
from t1_vectorstore.readers.parquet import read_parquet
from t1_vectorstore.readers.pdf import read_pdf
from t1_vectorstore.readers.records import REASON, Fields, read_csv, read_jsonl
from t1_vectorstore.readers.sources import as_paths, beir_corpus, check, size, total_bytes
from t1_vectorstore.readers.texts import read_text
from t1_vectorstore.types import Document

RECORD_READERS = {
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".csv": read_csv,
    ".tsv": read_csv,
    ".parquet": read_parquet,
}

__all__ = [
    "REASON",
    "Fields",
    "OnBytes",
    "OnError",
    "check",
    "read",
    "read_csv",
    "read_folder",
    "read_html",
    "read_jsonl",
    "read_parquet",
    "read_pdf",
    "read_text",
    "total_bytes",
]


def read(
    paths: str | Path | Iterable[str | Path],
    *,
    fields: Fields = Fields(),
    on_error: OnError = raise_error,
    on_skip: OnError = warn,
    on_bytes: OnBytes = ignore_bytes,
) -> Iterator[Document]:
    """Read files and folders, each by its kind.

    A folder is read for text, Markdown, HTML and PDF; one in BEIR's layout for its ``corpus.jsonl``. A file is read by
    its suffix: ``.txt``, ``.md``, ``.html``, ``.pdf`` (extra ``documents``), ``.jsonl``, ``.csv``, ``.tsv``, each also
    followed by ``.gz``; and ``.parquet`` (extra ``parquet``). ``-`` is standard input, as JSON Lines.

    Args:
        paths: one path or several, read in this order.
        fields: which fields of JSONL, CSV and Parquet records hold what.
        on_error: called with each line or file that cannot be read, instead of raising ``CorpusError``.
        on_skip: called with each file of an unknown kind inside a folder, instead of warning.
        on_bytes: called, as the reading goes on, with how many more bytes it has taken; ``total_bytes`` tells how many
            these will be.

    Raises:
        CorpusError: at once, before anything is read, if a path does not exist or is of an unknown kind.
        MissingExtraError: likewise, if a file needs an extra that is not installed.
    """
    sources = as_paths(paths)
    check(sources)
    return _read(sources, fields, on_error, on_skip, on_bytes)


def _read(
    paths: Iterable[Path], fields: Fields, on_error: OnError, on_skip: OnError, on_bytes: OnBytes
) -> Iterator[Document]:
    for path in paths:
        records = beir_corpus(path) or path
        if path == STDIN:
            yield from read_jsonl(path, fields=fields, on_error=on_error, on_bytes=on_bytes)
        elif kind(records) in RECORD_READERS and not records.is_dir():
            reader = RECORD_READERS[kind(records)]
            yield from reader(records, fields=fields, on_error=on_error, on_bytes=on_bytes)
        elif path.is_dir():
            yield from read_folder(path, on_error=on_error, on_skip=on_skip, on_bytes=on_bytes)
        else:
            yield from read_file(path, None, on_error, on_skip)
            on_bytes(size(path))
