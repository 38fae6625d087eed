"""Read word processor, presentation, spreadsheet, book and notebook files: one document per file, as Markdown.

They are read by kreuzberg, chosen among libraries that read all of them: one wheel of 40 MB (98 MB installed) without
further dependencies, under the MIT licence. markitdown needs pandas, onnxruntime and others (85 MB), and unstructured
nearly a hundred packages.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from t1_vectorstore.errors import CorpusError, MissingExtraError
from t1_vectorstore.readers.blobs import Blobs
from t1_vectorstore.readers.lines import OnError, content_suffix, raise_error, read_bytes, warn
from t1_vectorstore.types import Document

_OPEN_XML = "application/vnd.openxmlformats-officedocument"
OFFICE_TYPES = {
    ".docx": f"{_OPEN_XML}.wordprocessingml.document",
    ".pptx": f"{_OPEN_XML}.presentationml.presentation",
    ".xlsx": f"{_OPEN_XML}.spreadsheetml.sheet",
    ".epub": "application/epub+zip",
    ".ipynb": "application/x-ipynb+json",
}
"""Suffixes of the files that are read, and their media types."""


def read_office(
    path: str | Path,
    *,
    id: str | None = None,  # noqa: A002
    on_error: OnError = raise_error,
    on_skip: OnError = warn,
) -> Iterator[Document]:
    """Read a file, plain or ``.gz``, as one document with headings and tables in Markdown.

    Args:
        path: The file; also stored as metadata ``source``.
        id: Id of the document. Default: the path as given, with forward slashes.
        on_error: Called instead of raising ``CorpusError`` if the file cannot be read or has no text.
        on_skip: Called, instead of warning, with the number of embedded files that were left out.

    Raises:
        MissingExtraError: The extra ``documents`` is not installed.
    """
    path, blobs = Path(path), Blobs()
    try:
        from kreuzberg import ExtractionConfig, KreuzbergError, extract_bytes_sync
    except ModuleNotFoundError as error:
        raise MissingExtraError("documents", f"reading {path}") from error
    config = ExtractionConfig(output_format="markdown", use_cache=False)
    try:
        data, kind = read_bytes(path), content_suffix(path)
        try:
            text = extract_bytes_sync(data, OFFICE_TYPES[kind], config).content
        except KreuzbergError as error:
            raise CorpusError(f"{path}: cannot be read as {kind[1:].upper()}: {error}") from error
        text = blobs.without(text).strip()
        if not text:
            raise CorpusError(f"{path}: no text")
    except CorpusError as error:
        on_error(error)
        return
    blobs.report(path, on_skip)
    yield Document(text, id=path.as_posix() if id is None else id, metadata={"source": path.as_posix()})
