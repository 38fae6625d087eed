"""One document per file: plain text and Markdown, alone or in a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from t1_vectorstore.corpora.lines import OnError, kind, raise_error, read_all, warn
from t1_vectorstore.errors import CorpusError
from t1_vectorstore.types import Document

TEXT_SUFFIXES = (".txt", ".text", ".md", ".markdown")


def read_text(path: str | Path, *, id: str | None = None, on_error: OnError = raise_error) -> Iterator[Document]:  # noqa: A002
    """Read a whole file, plain or ``.gz``, as one document.

    Args:
        path: the file; also stored as metadata ``source``.
        id: the document's id; the path as given, with forward slashes, when None.
        on_error: called instead of raising ``CorpusError``.
    """
    path = Path(path)
    try:
        text = read_all(path)
    except CorpusError as error:
        on_error(error)
        return
    yield Document(text, id=path.as_posix() if id is None else id, metadata={"source": path.as_posix()})


def read_folder(folder: str | Path, *, on_error: OnError = raise_error, on_skip: OnError = warn) -> Iterator[Document]:
    """Read every text and Markdown file below a folder, in the order of their paths.

    A document's id is its path relative to the folder, with forward slashes. Names that begin with a dot are skipped,
    and links to folders are not followed.

    Args:
        folder: where to begin.
        on_error: called with each file or folder that cannot be read, instead of raising ``CorpusError``.
        on_skip: called with each file of another kind and each link to a folder, instead of warning.
    """
    folder = Path(folder)
    for path in _files(folder, on_error, on_skip):
        if kind(path) in TEXT_SUFFIXES:
            yield from read_text(path, id=path.relative_to(folder).as_posix(), on_error=on_error)
        else:
            on_skip(CorpusError(f"{path}: not read: a folder is read for {', '.join(TEXT_SUFFIXES)} only"))


def _files(folder: Path, on_error: OnError, on_skip: OnError) -> Iterator[Path]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        on_error(CorpusError(f"{folder}: cannot be read: {error.strerror}"))
        return
    for entry in entries:
        path = folder / entry.name
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _files(path, on_error, on_skip)
        elif entry.is_dir():
            on_skip(CorpusError(f"{path}: not read: a link to a folder; name it as a source of its own"))
        else:
            yield path
