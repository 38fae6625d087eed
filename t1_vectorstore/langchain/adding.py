"""What goes in: one document, one point, one id."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from langchain_core.documents import Document as LangChainDocument

from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.errors import TextTooLong, TruncationWarning
from t1_vectorstore.indexing import LoadReport
from t1_vectorstore.indexing.chunking import Chunker
from t1_vectorstore.langchain.progress import ProgressBar
from t1_vectorstore.types import Chunk, Document, Truncation
from t1_vectorstore.vectorstore import T1VectorStore

Entry: TypeAlias = tuple[str, Mapping[str, Any] | None, str | None]
"""Text, metadata and id, as they were given."""


def add(store: T1VectorStore, entries: Iterable[Entry], *, truncation: Truncation, show_progress: bool) -> list[str]:
    """Embed and store texts; see ``T1QdrantVectorStore.add_documents``.

    Returns:
        The id of each, in order.
    """
    ids: list[str] = []
    with ProgressBar(shown=show_progress) as bar:
        report = store.add(
            _named(entries, ids),
            chunker=_uncut(store.embedder, truncation),
            max_reported=None,
            on_progress=lambda progress: bar.to(progress.encoded + progress.unchanged),
        )
    if report.truncations and truncation == "warn":
        warnings.warn(_truncated(report), TruncationWarning, stacklevel=4)  # the caller of the store
    if report.failures:
        raise _failure(report, ids)
    return ids


def check_several(what: str, given: object) -> None:
    """Refuse one where several are expected: a string would be taken for its characters.

    Raises:
        TypeError: a single string or document.
    """
    if isinstance(given, str | bytes | LangChainDocument):
        raise TypeError(f"{what} takes several, got a single {type(given).__name__}; wrap it in a list")


def check_lengths(what: str, count: int, **others: Sequence[Any] | None) -> None:
    """Refuse before any work what would otherwise be cut off in silence.

    Raises:
        ValueError: there are more or fewer of the others.
    """
    for name, given in others.items():
        check_several(name, given)
        if given is not None and len(given) != count:
            raise ValueError(f"{count} {what}, but {len(given)} {name}: give one for each, None where there is none")


def _named(entries: Iterable[Entry], ids: list[str]) -> Iterator[Document]:
    """The package's documents, each with an id, which is also put into ``ids``."""
    for text, given, name in entries:
        metadata = {} if given is None else given
        if name is None:
            try:
                name = Chunk("", "", text, 0, 0, 0, metadata).content_hash
            except (TypeError, ValueError):  # not JSON: the load refuses it, and says why by this name
                name = f"number {len(ids)}"
        ids.append(name)
        yield Document(text, name, metadata)


def _uncut(embedder: T1Embedder, truncation: Truncation) -> Chunker:
    """Cuts nothing, as an id must give back the document that was filed under it."""

    def length(text: str) -> int:
        if truncation == "raise" and (excess := embedder.excess_tokens(text)):
            raise TextTooLong(f"{excess} tokens are over the model's limit; split it, or allow truncation")
        return len(text)

    return Chunker(sys.maxsize, length=length)


def _truncated(report: LoadReport) -> str:
    first = report.truncations[0]
    return (
        f"{report.truncated} of {report.documents} documents are over the model's limit; of {first.id!r} the last "
        f"{first.dropped_tokens} of {first.total_tokens} tokens are not read. Split them before"
    )


def _failure(report: LoadReport, ids: Sequence[str]) -> ValueError:
    first = report.failures[0]
    error = ValueError(
        f"{report.failed} of {report.documents} documents were not stored, the rest is. {first.id!r}: {first.reason}"
    )
    failed = {failure.id for failure in report.failures}
    error.ids = [each for each in ids if each not in failed]  # type: ignore[attr-defined]
    error.report = report  # type: ignore[attr-defined]
    return error
