"""``T1QdrantVectorStore``: one Qdrant collection, on any of three engines, as LangChain's ``VectorStore``."""

from __future__ import annotations

import asyncio
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import repeat
from typing import Any, TypeAlias
from uuid import UUID

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from typing_extensions import Self

from t1_vectorstore.collection import Collection
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.errors import BlankDocumentWarning, TextTooLong, TruncationWarning, external_stacklevel
from t1_vectorstore.indexing import LoadProgress, LoadReport, chunker_for
from t1_vectorstore.indexing.chunk_documents import check_documents
from t1_vectorstore.indexing.chunking import DEFAULT_SIZE, Chunker
from t1_vectorstore.keyword_options import takes_options
from t1_vectorstore.langchain.embeddings import T1Embeddings, progress_bar
from t1_vectorstore.langchain.retriever import T1Retriever
from t1_vectorstore.langchain.searching import COLLECTION_KEY, ID_KEY, T1Searches, check_several, embedder_of, to_ids
from t1_vectorstore.langchain.stock import (
    CONTENT_KEY,
    METADATA_KEY,
    SPARSE_VECTOR_NAME,
    VECTOR_NAME,
    OpenOptions,
    RetrievalMode,
    open_collection,
)
from t1_vectorstore.types import Chunk, FilterLike
from t1_vectorstore.types import Document as T1Document
from t1_vectorstore.vectorstore import T1VectorStore

DocumentId: TypeAlias = str | int | UUID
"""An id as the caller gives it. It is stored as a string, and returned by ``add_texts`` as it was given."""
Entry: TypeAlias = tuple[str, Mapping[str, Any] | None, DocumentId | None]
"""Text, metadata and id, as the caller gave them."""


class T1QdrantVectorStore(T1Searches):
    """Stores LangChain's documents in a Qdrant collection, and searches them with T1.

    It is created as langchain-qdrant's ``QdrantVectorStore`` is: with a client, or by ``from_texts``,
    ``from_documents``, ``from_existing_collection`` and ``construct_instance``, which call ``open``. Other embeddings
    than ``T1Embeddings`` work as well, without thoughts.

    With ``chunk=True`` long documents are cut into chunks, and searches return each document once, as it was added.
    Otherwise one LangChain document is one point: split long ones first, with any text splitter;
    ``T1Embeddings(truncation=...)`` decides what happens to a text over the model's limit. An id is any string. The id
    of a document without one is the hash of its text and metadata. Documents that are already stored unchanged are not
    embedded again.

    The payload is that of langchain-qdrant, which can read these collections. Its own collections on a server can be
    opened here with ``adopt=True``, since they do not record which model made the vectors.
    """

    CONTENT_KEY = CONTENT_KEY
    METADATA_KEY = METADATA_KEY
    VECTOR_NAME = VECTOR_NAME
    SPARSE_VECTOR_NAME = SPARSE_VECTOR_NAME

    def __init__(
        self,
        client: Any = None,
        collection_name: str | Embeddings | None = None,
        embedding: Embeddings | None = None,
        retrieval_mode: RetrievalMode | str | None = None,
        vector_name: str | None = None,
        content_payload_key: str | None = None,
        metadata_payload_key: str | None = None,
        distance: Any = None,
        sparse_embedding: Any = None,
        sparse_vector_name: str | None = None,
        validate_embeddings: bool = True,
        validate_collection_config: bool = True,
        *,
        collection: Collection | None = None,
        chunk: bool | int = False,
        id_in_metadata: bool | None = None,
    ) -> None:
        """Use an existing collection through a client, as langchain-qdrant does, or an open ``Collection``.

        Args:
            client: A ``qdrant_client.QdrantClient`` of any mode, which stays the caller's; or a ``Collection``, which
                is followed by the embedding, and by no name.
            collection_name: Name of the collection.
            embedding: The embeddings that made its vectors; the collection need not record that.
            retrieval_mode: What is searched by; see ``OpenOptions``, also for the following arguments.
            vector_name: Name of the dense vector.
            content_payload_key: Payload key of the text.
            metadata_payload_key: Payload key of the metadata.
            distance: Cosine, or nothing.
            sparse_embedding: What encodes the words.
            sparse_vector_name: Name of the sparse vector.
            validate_embeddings: Changes nothing.
            validate_collection_config: Changes nothing.
            collection: An open collection, instead of the client.
            chunk: Cut long documents into chunks; see ``OpenOptions``.
            id_in_metadata: Add ``_id`` and ``_collection_name`` to the metadata of found documents.

        Raises:
            CollectionNotFound: There is no collection of that name; ``open`` creates one.
            CollectionMismatch: It holds another model's vectors, or other vectors than those named.
            TypeError: An open ``Collection``, and an argument that describes one for a client.
        """
        described: dict[str, Any] = {
            "vector_name": vector_name,
            "content_payload_key": content_payload_key,
            "metadata_payload_key": metadata_payload_key,
            "distance": distance,
            "sparse_embedding": sparse_embedding,
            "sparse_vector_name": sparse_vector_name,
        }
        used: dict[str, Any] = {"retrieval_mode": retrieval_mode, "chunk": chunk, "id_in_metadata": id_in_metadata}
        if isinstance(client, Collection) or collection is not None:
            if wrong := [name for name, value in described.items() if value is not None]:
                raise TypeError(f"{wrong[0]} is an argument for a client; an open Collection has its own already")
            collection = collection or client
            embedding = collection_name if isinstance(collection_name, Embeddings) else embedding
            self._use(collection, embedder_of(embedding), embedding, OpenOptions(**used))
            return
        named = {"client": client, "collection_name": collection_name}
        checked = OpenOptions(adopt=True, create=False, **named, **described, **used)
        self._use(*open_collection(embedding, checked), embedding, checked)

    def _use(
        self, collection: Collection, embedder: T1Embedder, embedding: Embeddings | None, options: OpenOptions
    ) -> None:
        """Become the store of an open collection."""
        mode = options.retrieval_mode
        annotated = options.id_in_metadata
        if annotated is None:
            annotated = options.client is not None or not isinstance(embedding, T1Embeddings)
        if mode is RetrievalMode.SPARSE:
            embedding = None
        defaults = {} if mode is None else {"hybrid": mode is not RetrievalMode.DENSE}
        try:
            store = T1VectorStore(embedder, collection, compatible_with=options.compatible_with)
        except BaseException:
            if options.compatible_with is not None:  # it was opened for this store
                collection.close()
            raise
        chunks = options.chunk is not False
        super().__init__(store, embedding, defaults=defaults, id_in_metadata=annotated, chunks=chunks)
        size = DEFAULT_SIZE if options.chunk is True else options.chunk
        if chunks:
            self._chunker = chunker_for(embedder, size=size, keep_spaces=True)
        else:
            self._chunker = _whole_texts(embedder, embedding)
        self.retrieval_mode = mode

    @property
    def client(self) -> Any:
        """The ``QdrantClient`` of a collection in memory or on a server.

        Raises:
            AttributeError: A folder has none.
        """
        return self.t1.collection.client

    @property
    def collection_name(self) -> str:
        """Name of the collection."""
        return self.t1.collection.name

    @classmethod
    @takes_options(OpenOptions)
    def open(cls, embedding: Embeddings | None, options: OpenOptions) -> Self:
        """Open a collection, and create it if it does not exist.

        Args:
            embedding: The model. A collection with another model's vectors is refused.
            options: Keyword arguments: exactly one of ``client``, ``location``, ``url``, ``path`` and ``host``, and the
                other fields of ``OpenOptions``.

        Raises:
            CollectionNotFound: Nothing to open, and ``create`` is false.
            CollectionMismatch: It was made for another model, dimension, distance or payload.
            StoreError: It cannot be opened; see ``Collection.open``.
            ValueError: Not exactly one place.
        """
        store = cls.__new__(cls)
        store._use(*open_collection(embedding, options), embedding, options)
        return store

    @classmethod
    def from_existing_collection(cls, *given: Any, **options: Any) -> Self:
        """``open`` a collection that exists; nothing is created.

        Args:
            given: The embedding; or, as in langchain-qdrant, the collection's name, the embedding and the mode.
            options: The same by keyword, and the other options of ``open``.
        """
        names: tuple[str, ...] = ("collection_name", "embedding", "retrieval_mode")
        if given and isinstance(given[0], Embeddings):
            names = ("embedding",)
        if len(given) > len(names):
            raise TypeError(f"{given[len(names)]!r} must be given by keyword")
        options = {**options, **dict(zip(names, given, strict=False)), "create": False}
        return cls.open(options.pop("embedding", None), **options)

    @classmethod
    def construct_instance(
        cls, embedding: Embeddings | None = None, *, client_options: Mapping[str, Any] | None = None, **options: Any
    ) -> Self:
        """``open`` a collection; ``client_options`` says where it is, such as ``{"url": ...}``."""
        return cls.open(embedding, **{**(client_options or {}), **options})

    @classmethod
    def from_texts(
        cls,
        texts: Iterable[str],
        embedding: Embeddings | None = None,
        metadatas: Sequence[Mapping[str, Any] | None] | None = None,
        ids: Sequence[DocumentId | None] | None = None,
        **options: Any,
    ) -> Self:
        """``open`` a collection with ``options``, and ``add_texts`` to it."""
        return cls.open(embedding, **options)._filled(lambda store: store.add_texts(texts, metadatas, ids=ids))

    @classmethod
    def from_documents(
        cls,
        documents: Iterable[Document],
        embedding: Embeddings | None = None,
        *,
        ids: Sequence[DocumentId | None] | None = None,
        **options: Any,
    ) -> Self:
        """``open`` a collection with ``options``, and ``add_documents`` to it."""
        return cls.open(embedding, **options)._filled(lambda store: store.add_documents(documents, ids=ids))

    @classmethod
    async def afrom_documents(
        cls,
        documents: Iterable[Document],
        embedding: Embeddings | None = None,
        *,
        ids: Sequence[DocumentId | None] | None = None,
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
        ids: Sequence[DocumentId | None] | None = None,
        batch_size: int | None = None,
    ) -> list[DocumentId]:
        """Embed and store texts; see ``add_documents``.

        Args:
            texts: Any iterable.
            metadatas: One for each text.
            ids: One for each text; ``None`` stands for the hash of text and metadata.
            batch_size: Ignored; see ``add_documents``.
        """
        check_several("texts", texts)
        if metadatas is None and ids is None:
            entries = ((text, None, None) for text in texts)
            return self._add(list(entries) if isinstance(texts, Sequence) else entries)
        texts = list(texts)
        _check_lengths("texts", len(texts), metadatas=metadatas, ids=ids)
        return self._add(list(zip(texts, metadatas or repeat(None), ids or repeat(None), strict=False)))

    def add_documents(  # type: ignore[override]
        self,
        documents: Iterable[Document],
        *,
        ids: Sequence[DocumentId | None] | None = None,
        batch_size: int | None = None,
    ) -> list[DocumentId]:
        """Embed and store documents; documents that are already stored unchanged are not embedded again.

        Args:
            documents: Any iterable; without ``ids`` a generator is read while documents are embedded.
            ids: One for each document, used instead of the document's own; ``None`` keeps the document's own.
            batch_size: Ignored: batches are measured in tokens. LangChain's ``index()`` passes it.

        Returns:
            The id of each document, in order.

        Raises:
            ValueError: More or fewer ids than documents, or documents that cannot be stored (an id twice for different
                texts, metadata that is not JSON): nothing was stored. Of a generator, and if only the model refuses a
                text, all others were stored. The error has the attributes ``ids`` (of the stored ones) and ``report``.
            BackendError: The model failed. Documents stored before stay, and adding again continues from there.
            StoreError: The collection failed. Documents stored before stay, and adding again continues from there.

        Warns:
            BlankDocumentWarning: Documents without a word, which have no meaning to search for, and are left out.
        """
        check_several("documents", documents)
        if ids is None:
            entries = ((each.page_content, each.metadata, each.id) for each in documents)
            return self._add(list(entries) if isinstance(documents, Sequence) else entries)
        documents = list(documents)
        _check_lengths("documents", len(documents), ids=ids)
        return self._add(
            [
                (document.page_content, document.metadata, document.id if given is None else given)
                for document, given in zip(documents, ids, strict=True)
            ]
        )

    def delete(self, ids: Sequence[DocumentId] | None = None, *, filter: FilterLike | None = None) -> bool:  # type: ignore[override]
        """Delete documents by id, or all whose metadata match a filter. Unknown ids are ignored.

        Returns:
            True.

        Raises:
            ValueError: Neither ids nor a filter, both, or a filter that matches everything.
            StoreError: The collection failed.
        """
        if self.chunks and ids is not None and filter is None:
            self.t1.collection.delete_documents(to_ids(ids))
        else:
            self.t1.collection.delete(None if ids is None else to_ids(ids), filter=filter)
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

    def _add(self, entries: Iterable[Entry]) -> list[DocumentId]:
        """Embed and store texts, and return their ids. What can be read twice is checked before anything is stored."""
        ids: list[DocumentId] = []
        blank: list[DocumentId] = []
        documents = self._documents_of(entries, ids, blank)
        if isinstance(entries, Sequence):
            documents = list(documents)
            if refused := check_documents(documents, self._chunker, self.t1.collection):
                report = LoadReport(documents=len(documents), failed=len(refused), failures=refused)
                raise _failure(report, (), "nothing was stored")
        with progress_bar(shown=getattr(self.embeddings, "show_progress", False)) as bar:

            def show(progress: LoadProgress) -> None:
                if bar is not None:
                    bar.update(progress.encoded + progress.unchanged - bar.n)

            report = self.t1.add(documents, chunker=self._chunker, max_reported=None, on_progress=show)
        if blank:
            with_text = Counter(ids) - Counter(blank)
            if without := [each for each in blank if each not in with_text]:
                self.delete(without)  # their earlier texts
            message = f"{len(blank)} documents have no text, and were left out, such as {blank[0]!r}"
            warnings.warn(message, BlankDocumentWarning, stacklevel=external_stacklevel())
        if report.truncations and self._truncation == "warn":
            warnings.warn(_truncation_message(report), TruncationWarning, stacklevel=external_stacklevel())
        if report.failures:
            raise _failure(report, [each for each in ids if each not in blank], "the others were stored")
        return ids

    def _documents_of(
        self, entries: Iterable[Entry], ids: list[DocumentId], blank: list[DocumentId]
    ) -> Iterable[T1Document]:
        """Convert the entries into this package's documents, and append the id of each to ``ids``, or to both lists."""
        for text, given, own_id in entries:
            metadata = {} if given is None else given
            if self.id_in_metadata and isinstance(metadata, Mapping):  # a found document may be added again
                metadata = {key: value for key, value in metadata.items() if key not in (ID_KEY, COLLECTION_KEY)}
            document_id = own_id
            if document_id is None:
                try:
                    document_id = Chunk("", "", text, 0, 0, 0, metadata).content_hash
                except (TypeError, ValueError):  # not JSON; the load refuses it, and reports the reason under this id
                    document_id = f"number {len(ids)}"
            ids.append(document_id)
            if isinstance(text, str) and not text.strip():
                blank.append(document_id)
            else:
                yield T1Document(text, to_ids([document_id])[0], metadata)

    @property
    def _truncation(self) -> str:
        return getattr(self.embeddings, "truncation", "allow")


def _check_lengths(what: str, count: int, **others: Sequence[Any] | None) -> None:
    """Refuse metadata or ids for more or fewer texts than there are."""
    for name, given in others.items():
        check_several(name, given)
        if given is not None and len(given) != count:
            raise ValueError(f"{count} {what}, but {len(given)} {name}: give one for each; None stands for no value")


def _whole_texts(embedder: T1Embedder, embeddings: Embeddings | None) -> Chunker:
    """Return a chunker that keeps each text whole, since its id must give it back as it was.

    It does not refer to the store: with such a cycle, deleting the last reference would not close the folder.
    """

    def length(text: str) -> int:
        if getattr(embeddings, "truncation", "allow") == "raise" and (excess := embedder.excess_tokens(text)):
            raise TextTooLong(f"{excess} tokens are over the model's limit; split the text, or allow truncation")
        return len(text)

    return Chunker(sys.maxsize, length=length)


def _truncation_message(report: LoadReport) -> str:
    first = report.truncations[0]
    return (
        f"{report.truncated} of {report.documents} documents are over the model's limit; {first.id!r} loses "
        f"{first.dropped_tokens} of {first.total_tokens} tokens. Split long documents first"
    )


def _failure(report: LoadReport, ids: Sequence[DocumentId], others: str) -> ValueError:
    first = report.failures[0]
    error = ValueError(
        f"{report.failed} of {report.documents} documents cannot be stored; {others}. {first.id!r}: {first.reason}"
    )
    failed = {failure.id for failure in report.failures}
    error.ids = [each for each in ids if str(each) not in failed]  # type: ignore[attr-defined]
    error.report = report  # type: ignore[attr-defined]
    return error
