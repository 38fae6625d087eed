"""Read PDF files: one document per page, so that a hit can be cited by its page."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from threading import get_ident
from typing import TYPE_CHECKING

from t1_vectorstore.errors import CorpusError, MissingExtraError
from t1_vectorstore.readers.blobs import Blobs
from t1_vectorstore.readers.lines import OnError, raise_error, read_bytes, warn
from t1_vectorstore.types import Document

if TYPE_CHECKING:
    from pypdf import PdfReader


def read_pdf(
    path: str | Path,
    *,
    id: str | None = None,  # noqa: A002
    on_error: OnError = raise_error,
    on_skip: OnError = warn,
) -> Iterator[Document]:
    """Read a file, plain or ``.gz``, as one document per page that has text.

    The ids are ``a.pdf#page=1``, ``a.pdf#page=2``, ...: appended to the file's address, such a fragment opens the page
    in a viewer (RFC 8118). Metadata: ``source``, ``page`` (from 1) and ``pages``, the number of pages. An encrypted
    file that opens without a password is read.

    Args:
        path: The file.
        id: Beginning of the documents' ids. Default: the path as given, with forward slashes.
        on_error: Called instead of raising ``CorpusError`` with a file that cannot be read, needs a password, or has no
            text at all (a scan), and with each single page that cannot be read.
        on_skip: Called, instead of warning, with the pages without text of a file whose other pages have text.

    Raises:
        MissingExtraError: The extra ``documents`` is not installed.
    """
    path = Path(path)
    name = path.as_posix() if id is None else id
    try:
        reader, pages = _open(path)
    except CorpusError as error:
        on_error(error)
        return
    empty: list[int] = []
    blobs = Blobs()
    for number in range(1, pages + 1):
        try:
            with _logged_warnings() as warnings:
                text = reader.pages[number - 1].extract_text()
        except Exception as error:  # noqa: BLE001 - pypdf raises many kinds of errors for a malformed page
            on_error(CorpusError(f"{path}#page={number}: cannot be read: {_reason(error)}"))
            continue
        # pypdf may return the two halves of a character beyond U+FFFF one by one; alone, a half is no character.
        text = blobs.without(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
        if text.strip():
            metadata = {"source": path.as_posix(), "page": number, "pages": pages}
            yield Document(text, id=f"{name}#page={number}", metadata=metadata)
        elif warnings:
            on_error(CorpusError(f"{path}#page={number}: cannot be read: {warnings[0]}"))
        else:
            empty.append(number)
    blobs.report(path, on_skip)
    if empty and len(empty) == pages:
        on_error(CorpusError(f"{path}: no text on any of its {pages} pages; a scan needs OCR first (ocrmypdf, ...)"))
    elif empty:
        on_skip(CorpusError(f"{path}: no text on page {', '.join(map(str, empty))} of {pages}"))


def _open(path: Path) -> tuple[PdfReader, int]:
    try:
        from pypdf import PdfReader
    except ModuleNotFoundError as error:
        raise MissingExtraError("documents", f"reading {path}") from error
    data = read_bytes(path)
    try:
        with _logged_warnings():
            reader = PdfReader(BytesIO(data))
            locked = reader.is_encrypted and not reader.decrypt("")
            pages = 0 if locked else len(reader.pages)
    except Exception as error:  # pypdf, as above
        raise CorpusError(f"{path}: cannot be read as PDF: {_reason(error)}") from error
    if locked:
        raise CorpusError(f"{path}: needs a password; save it without one (qpdf --decrypt, ...)")
    if not pages:
        raise CorpusError(f"{path}: has no pages")
    return reader, pages


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


@contextmanager
def _logged_warnings() -> Iterator[list[str]]:
    """Collect what pypdf logs in this thread. For a page with damaged content it logs a warning and returns no text."""
    messages: list[str] = []
    thread = get_ident()

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread == thread:
                messages.append(record.getMessage())

    collector, logger = Collector(), logging.getLogger("pypdf")
    logger.addHandler(collector)
    try:
        yield messages
    finally:
        logger.removeHandler(collector)
