"""PDF files: one document per page, so that a hit can be cited by its page."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from threading import get_ident
from typing import TYPE_CHECKING

from t1_vectorstore.errors import CorpusError, MissingExtraError
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

    The documents are ``a.pdf#page=1``, ``a.pdf#page=2``, ...: behind the file's address this opens the page in a viewer
    (RFC 8118). Metadata: ``source``, ``page`` (from 1) and ``pages``, how many the file has. A file that is encrypted
    but opens without a password is read.

    Args:
        path: the file.
        id: what the documents' ids begin with; the path as given, with forward slashes, when None.
        on_error: called instead of raising ``CorpusError`` with a file that cannot be read, needs a password, or has no
            text at all (a scan), and with each single page that cannot be read.
        on_skip: called with the pages that have no text, in a file where others have, instead of warning.

    Raises:
        MissingExtraError: the extra ``documents`` is not installed.
    """
    path = Path(path)
    name = path.as_posix() if id is None else id
    try:
        reader, pages = _open(path)
    except CorpusError as error:
        on_error(error)
        return
    empty: list[int] = []
    for number in range(1, pages + 1):
        try:
            with _complaints() as complaints:
                text = reader.pages[number - 1].extract_text()
        except Exception as error:  # noqa: BLE001 - pypdf meets a malformed page with whatever it runs into
            on_error(CorpusError(f"{path}#page={number}: cannot be read: {_reason(error)}"))
            continue
        if text.strip():
            metadata = {"source": path.as_posix(), "page": number, "pages": pages}
            yield Document(text, id=f"{name}#page={number}", metadata=metadata)
        elif complaints:
            on_error(CorpusError(f"{path}#page={number}: cannot be read: {complaints[0]}"))
        else:
            empty.append(number)
    if empty and len(empty) == pages:
        on_error(CorpusError(f"{path}: no text on any of its {pages} pages; a scan needs OCR first (ocrmypdf, ...)"))
    elif empty:
        on_skip(CorpusError(f"{path}: not read: no text on page {', '.join(map(str, empty))} of {pages}"))


def _open(path: Path) -> tuple[PdfReader, int]:
    try:
        from pypdf import PdfReader
    except ModuleNotFoundError as error:
        raise MissingExtraError("documents", f"reading {path}") from error
    data = read_bytes(path)
    try:
        with _complaints():
            reader = PdfReader(BytesIO(data))
            locked = reader.is_encrypted and not reader.decrypt("")
            pages = 0 if locked else len(reader.pages)
    except Exception as error:  # likewise
        raise CorpusError(f"{path}: cannot be read as PDF: {_reason(error)}") from error
    if locked:
        raise CorpusError(f"{path}: needs a password; save it without one (qpdf --decrypt, ...)")
    if not pages:
        raise CorpusError(f"{path}: has no pages")
    return reader, pages


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """What pypdf logs in this thread: for a page whose content is damaged that, and an empty text, is all it gives."""
    lines: list[str] = []
    thread = get_ident()

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread == thread:
                lines.append(record.getMessage())

    collector, logger = Collector(), logging.getLogger("pypdf")
    logger.addHandler(collector)
    try:
        yield lines
    finally:
        logger.removeHandler(collector)
