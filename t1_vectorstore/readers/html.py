"""HTML pages: one document per file, its visible text as Markdown.

The text is all that a reader of the page sees, not what an extractor takes for the article: such a guess loses tables
and short pages without a word. BeautifulSoup over lxml mends broken mark-up; markdownify keeps headings, lists and
tables, where a chunk is best cut.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path

from t1_vectorstore.errors import CorpusError, MissingExtraError
from t1_vectorstore.readers.lines import OnError, raise_error, read_bytes
from t1_vectorstore.types import Document

_UNSEEN = ("head", "script", "style", "template", "noscript", "nav")
_INLINE = ["a", "b", "strong", "i", "em"]  # their text is kept; the signs would only be noise to a model

# What a label means in a browser (https://encoding.spec.whatwg.org): pages that claim Latin-1 are Windows-1252; and one
# whose claim could be read as ASCII is not UTF-16.
_MEANT = {"iso8859-1": "cp1252", "ascii": "cp1252", "utf-16": "utf-8", "utf-16-le": "utf-8", "utf-16-be": "utf-8"}


def read_html(path: str | Path, *, id: str | None = None, on_error: OnError = raise_error) -> Iterator[Document]:  # noqa: A002
    """Read a page, plain or ``.gz``, as one document.

    Scripts, styles and what is marked as navigation (``nav``) are left out. The encoding is that of the byte order
    mark, or else the declared one, or else UTF-8. The title becomes metadata ``title``.

    Args:
        path: the file; also stored as metadata ``source``.
        id: the document's id; the path as given, with forward slashes, when None.
        on_error: called instead of raising ``CorpusError``: the file cannot be read or decoded, or has no text.

    Raises:
        MissingExtraError: the extra ``documents`` is not installed.
    """
    path = Path(path)
    try:
        title, text = _contents(read_bytes(path), path)
    except CorpusError as error:
        on_error(error)
        return
    metadata = {"source": path.as_posix(), **({"title": title} if title else {})}
    yield Document(text, id=path.as_posix() if id is None else id, metadata=metadata)


def _contents(data: bytes, path: Path) -> tuple[str, str]:
    """Title and text."""
    try:
        from bs4 import BeautifulSoup
        from lxml.etree import LxmlError
        from markdownify import MarkdownConverter
    except ModuleNotFoundError as error:
        raise MissingExtraError("documents", f"reading {path}") from error
    markup = _decode(data, path)
    if "<" not in markup:
        raise CorpusError(f"{path}: not HTML: there is no tag in it")
    if markup.lstrip().startswith("<?xml") and "<html" not in markup[:500].lower():
        raise CorpusError(f"{path}: XML, but not HTML")
    try:
        page = BeautifulSoup(markup, "lxml")
        title = " ".join(page.title.get_text().split()) if page.title else ""
        for element in page(_UNSEEN):
            element.decompose()
        for image in page("img"):
            image.replace_with(str(image.get("alt", "")))
        converter = MarkdownConverter(
            strip=_INLINE,
            heading_style="ATX",
            escape_asterisks=False,
            escape_underscores=False,
            escape_misc=False,
        )
        text: str = converter.convert_soup(page).strip()
    except RecursionError:
        raise CorpusError(f"{path}: cannot be read as HTML: its elements are nested too deeply") from None
    except (LxmlError, ValueError) as error:
        raise CorpusError(f"{path}: cannot be read as HTML: {error}") from error
    if not text:
        raise CorpusError(f"{path}: a page without text; if scripts fill it in, save it as the browser shows it")
    return title, text


def _decode(data: bytes, path: Path) -> str:
    from bs4.dammit import EncodingDetector

    data, marked = EncodingDetector.strip_byte_order_mark(data)
    declared = marked or EncodingDetector.find_declared_encoding(data, is_html=True) or "utf-8"
    try:
        encoding = codecs.lookup(declared).name
        if not marked:
            encoding = _MEANT.get(encoding, encoding)
        return data.decode(encoding)
    except LookupError:
        raise CorpusError(f"{path}: declares an unknown encoding {declared!r}; convert the file to UTF-8") from None
    except UnicodeDecodeError as error:
        wrong = f"byte 0x{data[error.start]:02x} at offset {error.start} ({error.reason})"
        what = "not UTF-8:" if encoding == "utf-8" else f"declared to be {encoding}, but"
        raise CorpusError(f"{path}: {what} {wrong}; convert the file to UTF-8 first") from None
