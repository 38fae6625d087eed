"""Read paths: choose the reader of each file, walk folders, and check all paths before anything is read."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from t1_vectorstore.errors import CorpusError, MissingExtraError
from t1_vectorstore.readers.archives import unpack
from t1_vectorstore.readers.blobs import Blobs
from t1_vectorstore.readers.html import read_html
from t1_vectorstore.readers.lines import (
    STDIN,
    OnBytes,
    OnError,
    content_suffix,
    decode_file,
    ignore_bytes,
    raise_error,
    read_bytes,
    warn,
)
from t1_vectorstore.readers.office import OFFICE_TYPES, read_office
from t1_vectorstore.readers.parquet import read_parquet
from t1_vectorstore.readers.pdf import read_pdf
from t1_vectorstore.readers.records import Fields, read_csv, read_jsonl
from t1_vectorstore.types import Document

_TEXT_SUFFIXES = (".txt", ".text", ".md", ".markdown", ".rst", ".adoc", ".org", ".tex")
_CODE_SUFFIXES = (
    *(".py", ".js", ".mjs", ".ts", ".jsx", ".tsx", ".java", ".kt", ".scala", ".c", ".h", ".cc", ".cpp", ".hpp", ".cs"),
    *(".go", ".rs", ".rb", ".php", ".swift", ".r", ".jl", ".lua", ".pl", ".sh", ".sql", ".css"),
)
_HTML_SUFFIXES = (".html", ".htm", ".xhtml")
_PDF_SUFFIX = ".pdf"
_ZIP_SUFFIX = ".zip"

_DOCUMENT_SUFFIXES = (*_TEXT_SUFFIXES, *_CODE_SUFFIXES, *_HTML_SUFFIXES, _PDF_SUFFIX, *OFFICE_TYPES, _ZIP_SUFFIX)
"""Files that are documents themselves, or hold documents. Only these are read from a folder."""

_INDEX_FILE = "t1.json"
"""File by which an index folder is recognised."""

RECORD_READERS = {
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".csv": read_csv,
    ".tsv": read_csv,
    ".parquet": read_parquet,
}
"""Files with many documents, which are given one by one."""

# For each suffix: the extra that its reader needs, and the modules that the extra installs.
_EXTRAS = {
    _PDF_SUFFIX: ("documents", ("pypdf",)),
    **dict.fromkeys(_HTML_SUFFIXES, ("documents", ("bs4", "lxml", "markdownify"))),
    **dict.fromkeys(OFFICE_TYPES, ("documents", ("kreuzberg",))),
    ".parquet": ("parquet", ("pyarrow",)),
}


def read(
    paths: str | Path | Iterable[str | Path],
    *,
    fields: Fields = Fields(),
    on_error: OnError = raise_error,
    on_skip: OnError = warn,
    on_bytes: OnBytes = ignore_bytes,
) -> Iterator[Document]:
    """Read files and folders, each with the reader for its kind.

    The suffix decides how a file is read: text, Markdown, reStructuredText and source code; HTML, PDF, DOCX, PPTX,
    XLSX, EPUB and notebooks (extra ``documents``); ``.jsonl``, ``.csv`` and ``.tsv``, each also with ``.gz`` appended;
    ``.parquet`` (extra ``parquet``); and ``.zip`` archives of any of them. ``-`` is JSON Lines from standard input.
    From a folder, all but files of records are read; from a folder in BEIR's layout, its ``corpus.jsonl``.

    Args:
        paths: One path or several, which are read in this order.
        fields: Which fields of JSONL, CSV and Parquet records hold the text, the id and the metadata.
        on_error: Called with each line or file that cannot be read, instead of raising ``CorpusError``.
        on_skip: Called with each file of an unknown kind in a folder, instead of warning.
        on_bytes: Called during reading with the number of bytes read since the last call; they add up to
            ``total_bytes``.

    Raises:
        CorpusError: A path does not exist or has an unknown kind. Raised by the call itself, before anything is read.
        MissingExtraError: A file needs an extra that is not installed. Raised by the call itself as well.
    """
    sources = _as_paths(paths)
    check(sources)
    return _read(sources, fields, on_error, on_skip, on_bytes)


def _read(
    paths: Iterable[Path], fields: Fields, on_error: OnError, on_skip: OnError, on_bytes: OnBytes
) -> Iterator[Document]:
    for path in paths:
        file = _beir_corpus(path) or path
        if path == STDIN or (content_suffix(file) in RECORD_READERS and not file.is_dir()):
            reader = RECORD_READERS.get(content_suffix(file), read_jsonl)
            yield from reader(file, fields=fields, on_error=on_error, on_skip=on_skip, on_bytes=on_bytes)
        elif path.is_dir():
            yield from read_folder(path, fields=fields, on_error=on_error, on_skip=on_skip, on_bytes=on_bytes)
        else:
            yield from _read_document(path, None, fields, on_error, on_skip)
            on_bytes(_size(path))


def read_folder(
    folder: str | Path,
    *,
    fields: Fields = Fields(),
    on_error: OnError = raise_error,
    on_skip: OnError = warn,
    on_bytes: OnBytes = ignore_bytes,
) -> Iterator[Document]:
    """Read all files in a folder and its subfolders that are documents, in the order of their paths; see ``read``.

    The id of a document is its path relative to the folder, with forward slashes; for a PDF, with the page appended.
    Names that begin with a dot and index folders are ignored, and links to folders are not followed.

    Args:
        folder: The folder.
        fields: Encoding of text files, and how records in archives are read.
        on_error: Called with each file or folder that cannot be read, instead of raising ``CorpusError``.
        on_skip: Called, instead of warning, with each file of another kind, each link to a folder, and the pages of a
            PDF without text.
        on_bytes: Called with the size of each file after it was read.

    Raises:
        MissingExtraError: There are HTML or PDF files, and the extra ``documents`` is not installed.
    """
    folder = Path(folder)
    for path in _walk(folder, on_error, on_skip):
        suffix = content_suffix(path)
        if suffix in _DOCUMENT_SUFFIXES:
            yield from _read_document(path, path.relative_to(folder).as_posix(), fields, on_error, on_skip)
            on_bytes(_size(path))
        elif suffix in RECORD_READERS:
            on_skip(CorpusError(f"{path}: records in a folder are not read; give this file itself as a source"))
        else:
            on_skip(CorpusError(f"{path}: a file of this kind is not read (t1 index --help lists those that are)"))


def read_text(
    path: str | Path,
    *,
    id: str | None = None,  # noqa: A002
    encoding: str | None = None,
    on_error: OnError = raise_error,
    on_skip: OnError = warn,
) -> Iterator[Document]:
    """Read a plain text or Markdown file, plain or ``.gz``, as one document. Embedded images and blobs are left out.

    Args:
        path: The file; also stored as metadata ``source``.
        id: Id of the document. Default: the path as given, with forward slashes.
        encoding: Encoding of the file. Default: UTF-8, or UTF-16 if the file begins like that.
        on_error: Called instead of raising ``CorpusError``.
        on_skip: Called, instead of warning, with the number of embedded files that were left out.
    """
    path, blobs = Path(path), Blobs()
    try:
        text = blobs.without(decode_file(read_bytes(path), str(path), encoding))
    except CorpusError as error:
        on_error(error)
        return
    blobs.report(path, on_skip)
    yield Document(text, id=path.as_posix() if id is None else id, metadata={"source": path.as_posix()})


def check(paths: Iterable[str | Path]) -> None:
    """Refuse paths that ``read`` cannot read, before anything is read.

    Raises:
        CorpusError: A path does not exist or has an unknown kind. The message lists the known ones.
        MissingExtraError: A file, possibly inside a folder, needs an extra that is not installed.
    """
    for path in map(Path, paths):
        if path == STDIN:
            continue
        if not path.exists():
            raise CorpusError(f"{path}: no such file or folder")
        known = (*_DOCUMENT_SUFFIXES, *RECORD_READERS)
        if not path.is_dir() and content_suffix(path) not in known:
            suffix = content_suffix(path) or "a file without a suffix"
            raise CorpusError(f"{path}: no reader for {suffix!r}; known: {', '.join(known)}; all but .parquet also .gz")
        for file in files_to_read([path]):
            extra, modules = _EXTRAS.get(content_suffix(file), ("", ()))
            if any(find_spec(module) is None for module in modules):
                raise MissingExtraError(extra, f"reading {file}")


def total_bytes(paths: str | Path | Iterable[str | Path]) -> int | None:
    """Return the number of bytes that ``read`` will report to ``on_bytes``; None if standard input is among the paths.

    An inaccessible file counts as empty; its error is reported when it is read.
    """
    sources = _as_paths(paths)
    return None if STDIN in sources else sum(map(_size, files_to_read(sources)))


def _as_paths(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    return [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _read_document(
    path: Path,
    id: str | None,  # noqa: A002
    fields: Fields,
    on_error: OnError,
    on_skip: OnError,
) -> Iterator[Document]:
    suffix = content_suffix(path)
    if suffix == _ZIP_SUFFIX:
        return _read_archive(path, id, fields, on_error, on_skip)
    if suffix in OFFICE_TYPES:
        return read_office(path, id=id, on_error=on_error, on_skip=on_skip)
    if suffix == _PDF_SUFFIX:
        return read_pdf(path, id=id, on_error=on_error, on_skip=on_skip)
    if suffix in _HTML_SUFFIXES:
        return read_html(path, id=id, on_error=on_error, on_skip=on_skip)
    return read_text(path, id=id, encoding=fields.encoding, on_error=on_error, on_skip=on_skip)


def _read_archive(
    path: Path,
    id: str | None,  # noqa: A002
    fields: Fields,
    on_error: OnError,
    on_skip: OnError,
) -> Iterator[Document]:
    """Read the files in a zip archive as if it was a folder; records have their own ids."""
    known = {*_DOCUMENT_SUFFIXES, *RECORD_READERS} - {_ZIP_SUFFIX}
    for name, file in unpack(path, known, on_error, on_skip):
        inside = f"{path.as_posix()}/{name}"
        report_error, report_skip = (_named(report, file, inside) for report in (on_error, on_skip))
        suffix = content_suffix(file)
        if suffix in RECORD_READERS:
            yield from RECORD_READERS[suffix](file, fields=fields, on_error=report_error, on_skip=report_skip)
            continue
        own_id = f"{path.as_posix() if id is None else id}/{name}"
        for document in _read_document(file, own_id, fields, report_error, report_skip):
            yield replace(document, metadata={**document.metadata, "source": inside})


def _named(report: OnError, temporary: Path, inside: str) -> OnError:
    """Return a function that reports errors about an unpacked file with its path in the archive."""
    return lambda error: report(CorpusError(str(error).replace(str(temporary), inside)))


def files_to_read(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the files that ``read`` opens; problems on the way are reported when they are read."""
    for path in paths:
        yield from _files_to_read(path)


def _files_to_read(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
    elif corpus := _beir_corpus(path):
        yield corpus
    else:
        files = _walk(path, lambda _: None, lambda _: None)
        yield from (file for file in files if content_suffix(file) in _DOCUMENT_SUFFIXES)


def _beir_corpus(folder: Path) -> Path | None:
    """Return the corpus of a folder in BEIR's layout, ``corpus.jsonl`` beside ``queries.jsonl``; None for others."""
    corpus = folder / "corpus.jsonl"
    return corpus if corpus.is_file() and (folder / "queries.jsonl").is_file() else None


def _walk(folder: Path, on_error: OnError, on_skip: OnError) -> Iterator[Path]:
    """Yield all files below a folder in the order of their paths, without hidden ones and without following links."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        on_error(CorpusError(f"{folder}: cannot be read: {error.strerror}"))
        return
    for entry in entries:
        path = folder / entry.name
        if entry.name.startswith("."):
            continue
        try:
            is_link, kind = entry.is_symlink(), path.stat().st_mode
        except OSError as error:  # a link to nothing or to itself, or a file that was deleted meanwhile
            on_error(CorpusError(f"{path}: cannot be read: {error.strerror}"))
            continue
        if stat.S_ISDIR(kind) and os.path.isfile(path / _INDEX_FILE):  # noqa: PTH113 - false if the folder is unreadable
            continue  # an index in its own source
        if stat.S_ISDIR(kind) and not is_link:
            yield from _walk(path, on_error, on_skip)
        elif stat.S_ISDIR(kind):
            on_skip(CorpusError(f"{path}: a link to a folder; give the folder itself as a source"))
        elif not stat.S_ISREG(kind):  # opening a pipe would wait for somebody who writes into it
            on_error(CorpusError(f"{path}: cannot be read: a pipe, a socket or a device, not a file"))
        else:
            yield path
