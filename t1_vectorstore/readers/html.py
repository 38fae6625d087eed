"""Read HTML pages: one document per file, its visible text as Markdown.

The text is everything that a reader of the page sees. Extracting only the main article would be a guess that silently
loses tables and short pages. BeautifulSoup with lxml repairs broken markup; markdownify keeps headings, lists and
tables, at which chunks are best split.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from t1_vectorstore.errors import CorpusError, MissingExtraError
from t1_vectorstore.readers.blobs import Blobs
from t1_vectorstore.readers.lines import OnError, raise_error, read_bytes, warn
from t1_vectorstore.types import Document

_INVISIBLE = ("head", "script", "style", "template", "noscript", "nav")
_INLINE = ["a", "b", "strong", "i", "em"]  # only their text is kept: their Markdown signs are noise to a model

# Browsers read some labels as other encodings (https://encoding.spec.whatwg.org): pages labelled Latin-1 are
# Windows-1252, those in Chinese, Japanese or Korean have the larger sets of Windows, and a page whose label can be read
# as ASCII is not UTF-16.
_BROWSER_ENCODINGS = {
    **dict.fromkeys(("iso8859-1", "ascii"), "cp1252"),
    **dict.fromkeys(("utf-16", "utf-16-le", "utf-16-be"), "utf-8"),
    **dict.fromkeys(("gb2312", "gbk"), "gb18030"),
    **dict.fromkeys(("iso8859-11", "tis-620"), "cp874"),
    **{"iso8859-9": "cp1254", "shift_jis": "cp932", "euc_kr": "cp949", "big5": "big5hkscs"},
}
_LABELS = {"x-sjis": "shift_jis", "x-gbk": "gbk", "windows-874": "cp874", "windows-31j": "cp932"}
"""Labels of pages that Python does not know."""
_BLOCKS = (
    *("address", "aside", "button", "details", "dialog", "fieldset", "figure", "footer", "form", "header", "hgroup"),
    *("legend", "main", "optgroup", "option", "search", "summary"),
)
"""Elements whose text is not joined to that of their neighbours; markdownify knows only the most common ones."""
_POWER = re.compile(r"[-+\u2212]?\d")


def read_html(
    path: str | Path,
    *,
    id: str | None = None,  # noqa: A002
    on_error: OnError = raise_error,
    on_skip: OnError = warn,
) -> Iterator[Document]:
    """Read a page, plain or ``.gz``, as one document.

    Scripts, styles and navigation (``nav``) are left out. The encoding is taken from the byte order mark, else from the
    page's declaration, else it is UTF-8. The title becomes metadata ``title``.

    Args:
        path: The file; also stored as metadata ``source``.
        id: Id of the document. Default: the path as given, with forward slashes.
        on_error: Called instead of raising ``CorpusError`` if the file cannot be read or decoded, or has no text.
        on_skip: Called, instead of warning, with the number of embedded files that were left out.

    Raises:
        MissingExtraError: The extra ``documents`` is not installed.
    """
    path, blobs = Path(path), Blobs()
    try:
        title, text = _title_and_text(read_bytes(path), path)
        text = blobs.without(text).strip()
        if not text:
            raise CorpusError(f"{path}: a page without text")
    except CorpusError as error:
        on_error(error)
        return
    blobs.report(path, on_skip)
    metadata = {"source": path.as_posix(), **({"title": title} if title else {})}
    yield Document(text, id=path.as_posix() if id is None else id, metadata=metadata)


def _title_and_text(data: bytes, path: Path) -> tuple[str, str]:
    try:
        import markdownify  # noqa: F401 - see _converter
        from bs4 import BeautifulSoup
        from lxml.etree import LxmlError
    except ModuleNotFoundError as error:
        raise MissingExtraError("documents", f"reading {path}") from error
    markup = _decode(data, path)
    if "<" not in markup:
        raise CorpusError(f"{path}: not HTML: it has no tags")
    if markup.lstrip().startswith("<?xml") and "<html" not in markup[:500].lower():
        raise CorpusError(f"{path}: XML, but not HTML")
    try:
        page = BeautifulSoup(markup, "lxml")
        title = " ".join(page.title.get_text().split()) if page.title else ""
        for element in page(_INVISIBLE):
            element.decompose()
        for image in page("img"):
            image.replace_with(str(image.get("alt", "")))
        converter = _converter()(
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
        raise CorpusError(f"{path}: a page without text; if scripts create it, save the page from a browser")
    return title, text


def _converter() -> Any:  # noqa: ANN401 - its types leave most methods out
    import markdownify

    base: Any = markdownify.MarkdownConverter

    class Converter(base):  # type: ignore[misc]
        """Keeps words apart that a page shows apart."""

        def convert_sup(self, el: Any, text: str, parent_tags: set[str]) -> str:  # noqa: ANN401 - the library's
            return f"^{text}" if _POWER.match(text) else text  # 10^6 is not 106, and 19th needs no sign

        def convert_hN(self, n: int, el: Any, text: str, parent_tags: set[str]) -> str:  # noqa: ANN401
            found: str = super().convert_hN(n, el, text, parent_tags)
            return f" {found} " if "_inline" in parent_tags else found  # in a table

    for name in _BLOCKS:
        setattr(Converter, f"convert_{name}", base.convert_div)
    return Converter


def _decode(data: bytes, path: Path) -> str:
    from bs4.dammit import EncodingDetector

    data, marked = EncodingDetector.strip_byte_order_mark(data)
    declared = marked or EncodingDetector.find_declared_encoding(data, is_html=True) or "utf-8"
    try:
        encoding = codecs.lookup(_LABELS.get(declared.lower(), declared)).name
        if not marked:
            encoding = _BROWSER_ENCODINGS.get(encoding, encoding)
        return data.decode(encoding)
    except LookupError:
        raise CorpusError(f"{path}: declares an unknown encoding {declared!r}; convert the file to UTF-8") from None
    except UnicodeDecodeError as error:
        problem = f"byte 0x{data[error.start]:02x} at offset {error.start} ({error.reason})"
        expected = "not UTF-8:" if encoding == "utf-8" else f"declared to be {encoding}, but"
        raise CorpusError(f"{path}: {expected} {problem}; convert the file to UTF-8 first") from None
