"""``T1QdrantVectorStore``: one Qdrant collection, on any of three engines, as LangChain's ``VectorStore``."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import repeat
from typing import Any

from langchain_core.documents import Document
from typing_extensions import Self

from t1_vectorstore.collection import Collection
from t1_vectorstore.langchain.adding import Entry, add, check_lengths, check_several
from t1_vectorstore.langchain.embeddings import T1Embeddings
from t1_vectorstore.langchain.retriever import T1Retriever
from t1_vectorstore.langchain.searching import T1Searches, embedder_of
from t1_vectorstore.options import CollectionOptions, set_options
from t1_vectorstore.types import FilterLike


class T1QdrantVectorStore(T1Searches):
    """Documents in, thoughts and documents out.

    One LangChain document is one point. Split long ones first, with any text splitter; what happens to a text over the
    model's limit is for ``T1Embeddings(truncation=...)`` to say. An id is any string. A document without one is filed
    under the hash of its text and metadata. What is stored unchanged is not embedded again.

    The payload is langchain-qdrant's: it reads what is written here, and what it has written on a server is read here
    (``adopt=True``, as it does not record whose vectors they are).
    """

    @classmethod
    def open(
        cls,
        embedding: T1Embeddings,
        *,
        location: str | os.PathLike[str] | None = None,
        url: str | None = None,
        path: str | os.PathLike[str] | None = None,
        collection_name: str = "t1",
        content_payload_key: str | None = None,
        metadata_payload_key: str | None = None,
        **options: Any,
    ) -> Self:
        """Open a collection, and create it if it does not exist.

        Args:
            embedding: The model. A collection with another model's vectors is refused.
            location: A folder (embedded engine), ``:memory:``, or the URL of a Qdrant server.
            url: The same, as langchain-qdrant names it.
            path: The same, as langchain-qdrant names it.
            collection_name: Name of the collection.
            content_payload_key: Payload key of the text.
            metadata_payload_key: Payload key of the metadata.
            options: The other fields of :class:`~t1_vectorstore.options.CollectionOptions`.

        Raises:
            CollectionNotFound: Nothing to open, and ``create`` is false.
            CollectionMismatch: It was made for another model, dimension, distance or payload.
            StoreError: It cannot be opened; see ``Collection.open``.
            ValueError: Not exactly one of ``location``, ``url`` and ``path``.
        """
        places = [place for place in (location, url, path) if place is not None]
        if len(places) != 1:
            raise ValueError(
                f"give exactly one of location=, url= and path=, got {len(places)}: {places!r}; location=':memory:' "
                "keeps the collection in memory"
            )
        named = {
            "name": collection_name,
            "content_key": content_payload_key,
            "metadata_key": metadata_payload_key,
        }
        checked = CollectionOptions.check(**options, **named)
        collection = Collection.open(
            places[0], identity=embedder_of(embedding).identity, **set_options(checked, CollectionOptions)
        )
        return cls(collection, embedding)

    @classmethod
    def from_existing_collection(cls, embedding: T1Embeddings, **place: Any) -> Self:
        """``open`` what exists; nothing is created."""
        place["create"] = False
        return cls.open(embedding, **place)

    @classmethod
    def from_texts(  # type: ignore[override]
        cls,
        texts: Iterable[str],
        embedding: T1Embeddings,
        metadatas: Sequence[Mapping[str, Any] | None] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **place: Any,
    ) -> Self:
        """``open`` a collection and ``add_texts`` to it."""
        return cls.open(embedding, **place)._filled(lambda store: store.add_texts(texts, metadatas, ids=ids))

    @classmethod
    def from_documents(  # type: ignore[override]
        cls,
        documents: Iterable[Document],
        embedding: T1Embeddings,
        *,
        ids: Sequence[str | None] | None = None,
        **place: Any,
    ) -> Self:
        """``open`` a collection and ``add_documents`` to it."""
        return cls.open(embedding, **place)._filled(lambda store: store.add_documents(documents, ids=ids))

    @classmethod
    async def afrom_documents(  # type: ignore[override]
        cls,
        documents: Iterable[Document],
        embedding: T1Embeddings,
        *,
        ids: Sequence[str | None] | None = None,
        **place: Any,
    ) -> Self:
        """``from_documents`` in a thread: the event loop goes on."""
        return await asyncio.to_thread(cls.from_documents, documents, embedding, ids=ids, **place)

    @property
    def namespace(self) -> str:
        """Names collection and model, for the record manager of LangChain's ``index()``.

        A record manager believes what it has written down. Under a plain name it would skip, as indexed already, what a
        new collection does not hold: one for another model, or one made again in the place of another.
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
            texts: any iterable.
            metadatas: one for each text.
            ids: one for each text; ``None`` among them means the hash of text and metadata.
            batch_size: not used, see ``add_documents``.
        """
        check_several("texts", texts)
        if metadatas is None and ids is None:
            return self._add((text, None, None) for text in texts)
        texts = list(texts)
        check_lengths("texts", len(texts), metadatas=metadatas, ids=ids)
        return self._add(zip(texts, metadatas or repeat(None), ids or repeat(None), strict=False))

    def add_documents(  # type: ignore[override]
        self,
        documents: Iterable[Document],
        *,
        ids: Sequence[str | None] | None = None,
        batch_size: int | None = None,
    ) -> list[str]:
        """Embed and store documents; one that is stored unchanged is not embedded again.

        Args:
            documents: any iterable; without ``ids`` a generator is read as the work goes on.
            ids: one for each document, before the documents' own; ``None`` among them leaves it to the document.
            batch_size: not used, since a batch is measured in tokens here. LangChain's ``index()`` sends it.

        Returns:
            The id of each document, in order.

        Raises:
            ValueError: as many ids as documents are needed, and nothing was stored; or documents cannot be stored (an
                id twice for different texts, metadata that is not JSON, an empty text). All others are stored then, and
                the error has the attributes ``ids`` (theirs) and ``report``.
            BackendError: the model failed. What was stored stays, and adding again goes on from there.
            StoreError: the collection failed; likewise.
        """
        check_several("documents", documents)
        if ids is None:
            return self._add((each.page_content, each.metadata, each.id) for each in documents)
        documents = list(documents)
        check_lengths("documents", len(documents), ids=ids)
        return self._add(
            (document.page_content, document.metadata, document.id if given is None else given)
            for document, given in zip(documents, ids, strict=True)
        )

    def delete(self, ids: Sequence[str] | None = None, *, filter: FilterLike | None = None) -> bool:  # type: ignore[override]
        """Delete documents by id, or all whose metadata satisfies a filter; never everything by accident.

        Returns:
            True: nothing of it is left. Ids that do not exist are no error.

        Raises:
            ValueError: neither or both are given, or the filter restricts nothing.
            StoreError: the collection failed.
        """
        self.t1.collection.delete(ids, filter=filter)
        return True

    def as_retriever(self, **options: Any) -> T1Retriever:
        """A retriever over this store; its options are ``T1Retriever``'s fields, ``search_kwargs`` among them."""
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
        """This store after ``fill``; closed where that fails, since nobody else holds it yet."""
        try:
            fill(self)
        except BaseException:
            self.close()
            raise
        return self

    def _add(self, entries: Iterable[Entry]) -> list[str]:
        own = self.embeddings
        return add(self.t1, entries, truncation=own.truncation, show_progress=own.show_progress)
