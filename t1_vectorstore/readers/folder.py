"""A folder: every file in it that is a document by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from t1_vectorstore.errors import CorpusError
from t1_vectorstore.readers.html import read_html
from t1_vectorstore.readers.lines import OnBytes, OnError, ignore_bytes, kind, raise_error, warn
from t1_vectorstore.readers.pdf import read_pdf
from t1_vectorstore.readers.sources import (
    FOLDER_SUFFIXES,
    HTML_SUFFIXES,
    PDF_SUFFIXES,
    RECORD_SUFFIXES,
    files,
    size,
)
from t1_vectorstore.readers.texts import read_text
from t1_vectorstore.types import Document


def read_folder(
    folder: str | Path,
    *,
    on_error: OnError = raise_error,
    on_skip: OnError = warn,
    on_bytes: OnBytes = ignore_bytes,
) -> Iterator[Document]:
    """Read every text, Markdown, HTML and PDF file below a folder, in the order of their paths.

    A document's id is its path relative to the folder, with forward slashes, and for a PDF with its page. Names that
    begin with a dot are skipped, and links to folders are not followed.

    Args:
        folder: where to begin.
        on_error: called with each file or folder that cannot be read, instead of raising ``CorpusError``.
        on_skip: called with each file of another kind, each link to a folder and the pages of a PDF that have no text,
            instead of warning.
        on_bytes: called with the size of each file once it is read.

    Raises:
        MissingExtraError: there are HTML or PDF files, and the extra ``documents`` is not installed.
    """
    folder = Path(folder)
    for path in files(folder, on_error, on_skip):
        if kind(path) in FOLDER_SUFFIXES:
            yield from read_file(path, path.relative_to(folder).as_posix(), on_error, on_skip)
            on_bytes(size(path))
        else:
            on_skip(CorpusError(f"{path}: not read: {_why_not(path)}"))


def _why_not(path: Path) -> str:
    if kind(path) in RECORD_SUFFIXES:
        return "a folder is read for documents; name the file itself to have its records read"
    return f"a folder is read for {', '.join(FOLDER_SUFFIXES)} only"


def read_file(path: Path, id: str | None, on_error: OnError, on_skip: OnError) -> Iterator[Document]:  # noqa: A002
    """Read a file that is a document by itself, by its suffix."""
    if kind(path) in PDF_SUFFIXES:
        return read_pdf(path, id=id, on_error=on_error, on_skip=on_skip)
    return (read_html if kind(path) in HTML_SUFFIXES else read_text)(path, id=id, on_error=on_error)
