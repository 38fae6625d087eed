"""What there is to read: paths that a reader is known for, the files below folders, and how large they are."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

from t1_vectorstore.errors import CorpusError, MissingExtraError
from t1_vectorstore.readers.lines import STDIN, OnError, kind

TEXT_SUFFIXES = (".txt", ".text", ".md", ".markdown")
HTML_SUFFIXES = (".html", ".htm", ".xhtml")
PDF_SUFFIXES = (".pdf",)
FOLDER_SUFFIXES = (*TEXT_SUFFIXES, *HTML_SUFFIXES, *PDF_SUFFIXES)
"""Files that are documents themselves: these are what a folder is read for."""

RECORD_SUFFIXES = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
"""Files of many documents, each named on its own."""

# The extra that brings each module which a kind of file is read with.
_NEEDS = {
    **dict.fromkeys(PDF_SUFFIXES, ("documents", ("pypdf",))),
    **dict.fromkeys(HTML_SUFFIXES, ("documents", ("bs4", "lxml", "markdownify"))),
    ".parquet": ("parquet", ("pyarrow",)),
}


def check(paths: Iterable[str | Path]) -> None:
    """Refuse paths that ``read`` has no reader for, also for want of an extra, before anything is read.

    Raises:
        CorpusError: a path does not exist or is of an unknown kind; the message lists the known ones.
        MissingExtraError: a file, or one somewhere in a folder, needs an extra that is not installed.
    """
    for path in map(Path, paths):
        if path == STDIN:
            continue
        if not path.exists():
            raise CorpusError(f"{path}: no such file or folder")
        if not path.is_dir() and kind(path) not in (*FOLDER_SUFFIXES, *RECORD_SUFFIXES):
            known = ", ".join((*FOLDER_SUFFIXES, *RECORD_SUFFIXES))
            suffix = kind(path) or "a file without a suffix"
            raise CorpusError(f"{path}: no reader for {suffix!r}; known: {known}; all but .parquet also with .gz")
        for file in _readable(path):
            extra, modules = _NEEDS.get(kind(file), ("", ()))
            if any(find_spec(module) is None for module in modules):
                raise MissingExtraError(extra, f"reading {file}")


def total_bytes(paths: str | Path | Iterable[str | Path]) -> int | None:
    """How many bytes ``read`` will report to its ``on_bytes`` for these paths; None with standard input among them.

    A file that cannot be looked at counts as empty; reading it is what reports it.
    """
    total = 0
    for path in as_paths(paths):
        if path == STDIN:
            return None
        total += sum(map(size, _readable(path)))
    return total


def as_paths(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """One path or several, as a list."""
    return [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]


def size(path: Path) -> int:
    """The bytes of a file, 0 where that cannot be told."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def beir_corpus(folder: Path) -> Path | None:
    """The corpus of a folder in BEIR's layout: ``corpus.jsonl`` beside ``queries.jsonl``; None for other folders."""
    corpus = folder / "corpus.jsonl"
    return corpus if corpus.is_file() and (folder / "queries.jsonl").is_file() else None


def files(folder: Path, on_error: OnError, on_skip: OnError) -> Iterator[Path]:
    """All files below a folder, in the order of their paths, but for hidden ones.

    Args:
        folder: where to begin.
        on_error: told of each folder that cannot be read.
        on_skip: told of each link to a folder; they are not followed.
    """
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
            yield from files(path, on_error, on_skip)
        elif entry.is_dir():
            on_skip(CorpusError(f"{path}: not read: a link to a folder; name it as a source of its own"))
        else:
            yield path


def _readable(path: Path) -> Iterator[Path]:
    """The files that ``read`` opens for a path."""
    if not path.is_dir():
        yield path
    elif corpus := beir_corpus(path):
        yield corpus
    else:
        yield from (file for file in files(path, _ignore, _ignore) if kind(file) in FOLDER_SUFFIXES)


def _ignore(_: CorpusError) -> None:
    """Reading reports it; a look ahead need not."""
