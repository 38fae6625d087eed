"""Plain text and Markdown: one document per file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from t1_vectorstore.errors import CorpusError
from t1_vectorstore.readers.lines import OnError, decode, raise_error, read_bytes
from t1_vectorstore.types import Document


def read_text(path: str | Path, *, id: str | None = None, on_error: OnError = raise_error) -> Iterator[Document]:  # noqa: A002
    """Read a whole file, plain or ``.gz``, as one document.

    Args:
        path: the file; also stored as metadata ``source``.
        id: the document's id; the path as given, with forward slashes, when None.
        on_error: called instead of raising ``CorpusError``.
    """
    path = Path(path)
    try:
        text = decode(read_bytes(path), str(path))
    except CorpusError as error:
        on_error(error)
        return
    yield Document(text, id=path.as_posix() if id is None else id, metadata={"source": path.as_posix()})
