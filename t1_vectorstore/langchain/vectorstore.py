"""``T1QdrantVectorStore``: one Qdrant collection, on any of three engines, as LangChain's ``VectorStore``."""

from __future__ import annotations

import asyncio
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any, TypeAlias

from langchain_core.documents import Document
from pydantic import Field
from typing_extensions import Self

from t1_vectorstore.collection import Collection
from t1_vectorstore.errors import TextTooLong, TruncationWarning, external_stacklevel
from t1_vectorstore.indexing import LoadProgress, LoadReport
from t1_vectorstore.indexing.chunking import Chunker
from t1_vectorstore.langchain.embeddings import T1Embeddings, progress_bar
from t1_vectorstore.langchain.retriever import T1Retriever
from t1_vectorstore.langchain.searching import T1Searches, embedder_of
from t1_vectorstore.options import CollectionOptions, Text, set_options, takes_options
from t1_vectorstore.types import Chunk, FilterLike
from t1_vectorstore.types import Document as T1Document

Entry: TypeAlias = tuple[str, Mapping[str, Any] | None, str | None]
"""Text, metadata and id, as the caller gave them."""


class OpenOptions(CollectionOptions):
    """The options of ``T1QdrantVectorStore.open``: where the collection is, and the collection's options.

    Three of the collection's options have the names of langchain-qdrant.
    """

    location: str | os.PathLike[str] | None = None
    """A folder (embedded engine), ``:memory:``, or the URL of a Qdrant server."""
    url: str | os.PathLike[str] | None = None
    """The same, as langchain-qdrant names it."""
    path: str | os.PathLike[str] | None = None
    """The same, as langchain-qdrant names it."""
    name: Text = Field(default="t1", min_length=1, alias="collection_name")
    """Name of the collection."""
    content_key: str | None = Field(default=None, alias="content_payload_key")
    """Payload key of the text. Default: ``page_content``."""
    metadata_key: str | None = Field(default=None, alias="metadata_payload_key")
    """Payload key of the metadata. Default: ``metadata``."""


class T1QdrantVectorStore(T1Searches):
    """Stores LangChain's documents in a Qdrant collection, and searches them with T1.

    One LangChain document is one point. Split long ones first, with any text splitter; ``T1Embeddings(truncation=...)``
    decides what happens to a text over the model's limit. An id is any string. The id of a document without one is the
    hash of its text and metadata. Documents that are already stored unchanged are not embedded again.

    The payload is that of langchain-qdrant, which can read these collections. Its own collections on a server can be
    opened here with ``adopt=True``, since they do not record which model made the vectors.
    """

    @classmethod
    @takes_options(OpenOptions)
    def open(cls, embedding: T1Embeddings, options: OpenOptions) -> Self:
        """Open a collection, and create it if it does not exist.

        Args:
            embedding: The model. A collection with another model's vectors is refused.
            options: Keyword arguments: exactly one of ``location``, ``url`` and ``path``, and the other fields of
                ``OpenOptions``.

        Raises:
            CollectionNotFound: Nothing to open, and ``create`` is false.
            CollectionMismatch: It was made for another model, dimension, distance or payload.
            StoreError: It cannot be opened; see ``Collection.open``.
            ValueError: Not exactly one of ``location``, ``url`` and ``path``.
        """
        places = [place for place in (options.location, options.url, options.path) if place is not None]
        if len(places) != 1:
            raise ValueError(
                f"give exactly one of location=, url= and path=, got {len(places)}: {places!r}; location=':memory:' "
                "keeps the collection in memory"
            )
        identity = embedder_of(embedding).identity
        return cls(Collection.open(places[0], identity=identity, **set_options(options, CollectionOptions)), embedding)

    @classmethod
    def from_existing_collection(cls, embedding: T1Embeddings, **options: Any) -> Self:
        """``open`` a collection that exists; nothing is created."""
        return cls.open(embedding, **{**options, "create": False})

    @classmethod
    def from_texts(  # type: ignore[override]
        cls,
        texts: Iterable[str],
        embedding: T1Embeddings,
        metadatas: Sequence[Mapping[str, Any] | None] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **options: Any,
    ) -> Self:
        """``open`` a collection with ``options``, and ``add_texts`` to it."""
        return cls.open(embedding, **options)._filled(lambda store: store.add_texts(texts, metadatas, ids=ids))

    @classmethod
    def from_documents(  # type: ignore[override]
        cls,
        documents: Iterable[Document],
        embedding: T1Embeddings,
        *,
        ids: Sequence[str | None] | None = None,
        **options: Any,
    ) -> Self:
        """``open`` a collection with ``options``, and ``add_documents`` to it."""
        return cls.open(embedding, **options)._filled(lambda store: store.add_documents(documents, ids=ids))

    @classmethod
    async def afrom_documents(  # type: ignore[override]
        cls,
        documents: Iterable[Document],
        embedding: T1Embeddings,
        *,
        ids: Sequence[str | None] | None = None,
        **options: Any,
    ) -> Self:
        """``from_documents`` in a thread."""
        return await asyncio.to_thread(cls.from_documents, documents, embedding, ids=ids, **options)

    @property
    def namespace(self) -> str:
        """Name of collection and model, for the record manager of LangChain's ``index()``.

        A record manager skips what it has recorded as indexed. Under a plain name, it would skip documents that a new
        collection does not hold: one for another model, or one created again in the same place.
        """
        collection = self.t1.collection
        return f"t1/{collection.name}/{collection.uid or collection.location}/{collection.identity.fingerprint[:16]}"

    def add_texts(  # type: ignore[override]
        self,
        texts: Iterable[str],
        metadatas: Sequence[Mapping[str, Any] | None] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        batch_size: int | None = None,
    ) -> list[str]:
        """Embed and store texts; see ``add_documents``.

        Args:
            texts: Any iterable.
            metadatas: One for each text.
            ids: One for each text; ``None`` stands for the hash of text and metadata.
            batch_size: Ignored; see ``add_documents``.
        """
        _check_several("texts", texts)
        if metadatas is None and ids is None:
            return self._add((text, None, None) for text in texts)
        texts = list(texts)
        _check_lengths("texts", len(texts), metadatas=metadatas, ids=ids)
        return self._add(zip(texts, metadatas or repeat(None), ids or repeat(None), strict=False))

    def add_documents(  # type: ignore[override]
        self,
        documents: Iterable[Document],
        *,
        ids: Sequence[str | None] | None = None,
        batch_size: int | None = None,
    ) -> list[str]:
        """Embed and store documents; documents that are already stored unchanged are not embedded again.

        Args:
            documents: Any iterable; without ``ids`` a generator is read while documents are embedded.
            ids: One for each document, used instead of the document's own; ``None`` keeps the document's own.
            batch_size: Ignored: batches are measured in tokens. LangChain's ``index()`` passes it.

        Returns:
            The id of each document, in order.

        Raises:
            ValueError: More or fewer ids than documents: nothing was stored. Or documents that cannot be stored (an id
                twice for different texts, metadata that is not JSON, an empty text): all others were stored, and the
                error has the attributes ``ids`` (of those) and ``report``.
            BackendError: The model failed. Documents stored before stay, and adding again continues from there.
            StoreError: The collection failed. Documents stored before stay, and adding again continues from there.
        """
        _check_several("documents", documents)
        if ids is None:
            return self._add((each.page_content, each.metadata, each.id) for each in documents)
        documents = list(documents)
        _check_lengths("documents", len(documents), ids=ids)
        return self._add(
            (document.page_content, document.metadata, document.id if given is None else given)
            for document, given in zip(documents, ids, strict=True)
        )

    def delete(self, ids: Sequence[str] | None = None, *, filter: FilterLike | None = None) -> bool:  # type: ignore[override]
        """Delete documents by id, or all whose metadata match a filter. Unknown ids are ignored.

        Returns:
            True.

        Raises:
            ValueError: Neither ids nor a filter, both, or a filter that matches everything.
            StoreError: The collection failed.
        """
        self.t1.collection.delete(ids, filter=filter)
        return True

    def as_retriever(self, **options: Any) -> T1Retriever:
        """Return a retriever over this store; its options are the fields of ``T1Retriever``."""
        return T1Retriever(vectorstore=self, **options)

    def close(self) -> None:
        """Release the folder or the connection. Calling it twice is harmless."""
        self.t1.close()

    def __enter__(self) -> Self:
        """Close at the end of a ``with`` block."""
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _filled(self, fill: Callable[[Self], object]) -> Self:
        """Return this store after ``fill``; if that fails, close it, since no caller has it yet."""
        try:
            fill(self)
        except BaseException:
            self.close()
            raise
        return self

    def _add(self, entries: Iterable[Entry]) -> list[str]:
        """Embed and store texts, each as one point, and return their ids."""
        ids: list[str] = []
        with progress_bar(shown=self.embeddings.show_progress) as bar:

            def show(progress: LoadProgress) -> None:
                if bar is not None:
                    bar.update(progress.encoded + progress.unchanged - bar.n)

            documents = _documents(entries, ids)
            report = self.t1.add(documents, chunker=self._whole_texts(), max_reported=None, on_progress=show)
        if report.truncations and self.embeddings.truncation == "warn":
            warnings.warn(_truncation_message(report), TruncationWarning, stacklevel=external_stacklevel())
        if report.failures:
            raise _failure(report, ids)
        return ids

    def _whole_texts(self) -> Chunker:
        """Return a chunker that keeps each text whole, since its id must give it back as it was."""

        def length(text: str) -> int:
            if self.embeddings.truncation == "raise" and (excess := self.t1.embedder.excess_tokens(text)):
                raise TextTooLong(f"{excess} tokens are over the model's limit; split the text, or allow truncation")
            return len(text)

        return Chunker(sys.maxsize, length=length)


def _check_several(what: str, given: object) -> None:
    """Refuse a single string or document; a string would be read as its characters."""
    if isinstance(given, str | bytes | Document):
        raise TypeError(f"{what} takes several, got a single {type(given).__name__}; wrap it in a list")


def _check_lengths(what: str, count: int, **others: Sequence[Any] | None) -> None:
    """Refuse metadata or ids for more or fewer texts than there are."""
    for name, given in others.items():
        _check_several(name, given)
        if given is not None and len(given) != count:
            raise ValueError(f"{count} {what}, but {len(given)} {name}: give one for each; None stands for no value")


def _documents(entries: Iterable[Entry], ids: list[str]) -> Iterator[T1Document]:
    """Convert the entries into this package's documents, and append the id of each to ``ids``."""
    for text, given, own_id in entries:
        metadata = {} if given is None else given
        document_id = own_id
        if document_id is None:
            try:
                document_id = Chunk("", "", text, 0, 0, 0, metadata).content_hash
            except (TypeError, ValueError):  # not JSON; the load refuses it, and reports the reason under this id
                document_id = f"number {len(ids)}"
        ids.append(document_id)
        yield T1Document(text, document_id, metadata)


def _truncation_message(report: LoadReport) -> str:
    first = report.truncations[0]
    return (
        f"{report.truncated} of {report.documents} documents are over the model's limit; {first.id!r} loses "
        f"{first.dropped_tokens} of {first.total_tokens} tokens. Split long documents first"
    )


def _failure(report: LoadReport, ids: Sequence[str]) -> ValueError:
    first = report.failures[0]
    error = ValueError(
        f"{report.failed} of {report.documents} documents were not stored, the others were. {first.id!r}: "
        f"{first.reason}"
    )
    failed = {failure.id for failure in report.failures}
    error.ids = [each for each in ids if each not in failed]  # type: ignore[attr-defined]
    error.report = report  # type: ignore[attr-defined]
    return error
