"""``T1VectorStore``: a collection together with the model whose vectors it holds."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncGenerator, Generator, Iterable, Iterator, Sequence
from contextlib import aclosing, closing
from itertools import islice
from typing import Any, TypeAlias

import numpy as np

from t1_vectorstore.collection import Collection, Location
from t1_vectorstore.embedding.cosines import Cosines
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.errors import CollectionMismatch, UnknownIdWarning, external_stacklevel
from t1_vectorstore.indexing import LoadOptions, LoadReport, Reader, load
from t1_vectorstore.keyword_options import Text, set_options, takes_options
from t1_vectorstore.options import CollectionOptions, SearchOptions, VectorSearchOptions
from t1_vectorstore.searching.requests import Embed, EmbedDocuments, EmbedQueries, Find, ReadVectors, Request
from t1_vectorstore.searching.steps import Steps, search_steps, with_thought
from t1_vectorstore.types import Chunk, Document, FilterLike, QueryEmbedding, SearchResult

EmbeddingItems: TypeAlias = Generator[str | QueryEmbedding, None, None]
AsyncEmbeddingItems: TypeAlias = AsyncGenerator[str | QueryEmbedding, None]

COMPATIBLE_SAMPLE = 32
"""Number of stored texts by which a model is compared with the one that a collection is of."""
MIN_MEAN_COSINE, MIN_COSINE = 0.98, 0.95
"""Mean and smallest cosine between vectors of two compatible models."""


class StoreOptions(CollectionOptions):
    """How a vector store is opened."""

    compatible_with: Text | None = None
    """Name or fingerprint of another model, whose vectors an existing collection holds, to search it with this one,
    such as a quantised GGUF file of the same model. Stored texts are embedded again, and the collection is refused
    unless the vectors are close. Documents cannot be added then. Give it each time the collection is opened."""


class T1VectorStore:
    """Stores documents and searches them with T1. Thread-safe.

    Attributes:
        embedder: The model.
        collection: The stored points. Use it directly for everything that needs no model.
    """

    def __init__(self, embedder: T1Embedder, collection: Collection, *, compatible_with: str | None = None) -> None:
        """Combine an embedder and a collection that are already open.

        Args:
            embedder: The model.
            collection: The collection.
            compatible_with: See ``StoreOptions``.

        Raises:
            CollectionMismatch: The collection holds another model's vectors, which are not close to this one's.
            ValueError: ``compatible_with`` names a model whose vectors the collection does not hold, or it is empty.
        """
        if collection.identity.fingerprint == embedder.identity.fingerprint:
            pass
        elif compatible_with is not None:
            check_compatible(embedder, collection, compatible_with)
        else:
            raise CollectionMismatch(
                f"{collection.location} holds vectors of {collection.identity}, and the embedder is {embedder.identity}"
            )
        self.embedder = embedder
        self.collection = collection

    @classmethod
    @takes_options(StoreOptions)
    def open(cls, location: Location, embedder: T1Embedder, options: StoreOptions) -> T1VectorStore:
        """Open a collection for a model, and create it if it does not exist.

        Args:
            location: A folder (embedded engine), ``:memory:``, the URL of a Qdrant server, or a
                ``qdrant_client.QdrantClient`` of any mode, which stays the caller's.
            embedder: The model. A collection with another model's vectors is refused.
            options: Keyword arguments, the fields of ``CollectionOptions``, and ``compatible_with``.

        Raises:
            CollectionMismatch: The collection holds another model's vectors, or was created with other options.
            ValueError: ``compatible_with`` names a model whose vectors the collection does not hold, or it is empty.
            StoreError: It cannot be opened; see ``Collection.open``.
            TypeError: Something other than an embedder, such as the name of a model.
        """
        if not isinstance(embedder, T1Embedder):
            raise TypeError(
                f"embedder must be a T1Embedder, got {embedder!r}: T1VectorStore.open({str(location)!r}, "
                f"T1Embedder.load({str(embedder)!r}))"
            )
        given = set_options(options, CollectionOptions)
        if options.compatible_with is None:
            return cls(embedder, Collection.open(location, identity=embedder.identity, **given))
        collection = Collection.open(location, **given | {"create": False})
        try:
            return cls(embedder, collection, compatible_with=options.compatible_with)
        except BaseException:
            collection.close()
            raise

    @takes_options(LoadOptions)
    def add(self, documents: Iterable[Document] | Reader, options: LoadOptions) -> LoadReport:
        """Embed and store documents; documents that are already stored unchanged are not embedded again.

        Long documents are cut into chunks. A document that cannot be stored is listed in the report's ``failures`` with
        the reason; the others are stored.

        Args:
            documents: Any iterable, or a reader such as ``partial(read, "docs")``. It is read while the load runs, in
                the calling thread.
            options: Keyword arguments, the fields of ``LoadOptions``.

        Raises:
            ValueError: ``prune`` with a source that has no document.
            TypeError: Something other than a ``Document``.
            BackendError: The model failed. Documents stored before stay.
            StoreError: The collection failed. Documents stored before stay.
        """
        return load(documents, self.embedder, self.collection, **set_options(options, LoadOptions))

    @takes_options(LoadOptions)
    async def aadd(self, documents: Iterable[Document] | Reader, options: LoadOptions) -> LoadReport:
        """``add`` in a thread, which also reads ``documents`` and calls ``on_progress``."""
        return await asyncio.to_thread(self.add, documents, **set_options(options, LoadOptions))

    @takes_options(SearchOptions)
    def search(self, query: str, options: SearchOptions) -> SearchResult:
        """Think about a query, then search with its vector.

        Args:
            query: The query.
            options: Keyword arguments, the fields of ``SearchOptions``.

        Raises:
            InvalidText: An empty query.
            TextTooLong: A query over the model's limit, under the ``raise`` policy.
            ValueError: A value that an option does not accept. The model has not been run then.
            BackendError: The model failed.
            StoreError: The collection failed.
        """
        steps = self._steps(query, options)
        step = next(steps)
        while not isinstance(step, SearchResult):
            if isinstance(step, Embed):
                step = steps.send(self.embedder.embed_query(query, **step.options))
            else:
                step = steps.send(self._answer(step))
        return step

    @takes_options(SearchOptions)
    async def asearch(self, query: str, options: SearchOptions) -> SearchResult:
        """``search`` without blocking the event loop: the model runs in a thread, a server is awaited.

        Cancelling the task stops the thought at its next token.
        """
        steps = self._steps(query, options)
        step = next(steps)
        while not isinstance(step, SearchResult):
            if isinstance(step, Embed):
                step = steps.send(await self.embedder.aembed_query(query, **step.options))
            else:
                step = steps.send(await self._aanswer(step))
        return step

    @takes_options(SearchOptions)
    def stream(self, query: str, options: SearchOptions) -> Generator[str | SearchResult, None, None]:
        """``search``, and yield the thought while it is generated.

        The search starts when the first item is requested. Closing the iterator, or leaving it, stops the thought.

        Args:
            query: The query.
            options: Keyword arguments, the fields of ``SearchOptions``.

        Yields:
            Pieces of the thought's text, then the result. The pieces together are ``Thought.text``, with several
            samples that of the first thought; without thinking there are none.

        Raises:
            ValueError: This, and everything that ``search`` refuses without the model, is raised before the first item
                is requested.
            BackendError: The model failed.
            StoreError: The collection failed.
        """
        steps = self._steps(query, options)
        step = next(steps)
        assert isinstance(step, Embed)
        return self._stream(query, steps, self.embedder.stream_query(query, **step.options))

    @takes_options(SearchOptions)
    def astream(self, query: str, options: SearchOptions) -> AsyncGenerator[str | SearchResult, None]:
        """``stream`` for an event loop: the model runs in a thread, a server is awaited.

        Closing the iterator with ``aclose()``, or cancelling the task that reads it, stops the thought at its next
        token. An iterator that is left early is closed by Python, at a later time; ``contextlib.aclosing`` does so at
        once.
        """
        steps = self._steps(query, options)
        step = next(steps)
        assert isinstance(step, Embed)
        return self._astream(query, steps, self.embedder.astream_query(query, **step.options))

    def delete(self, document_ids: Iterable[str] | None = None, *, filter: FilterLike | None = None) -> int:
        """Delete documents with all their chunks, by id or by a filter on their metadata.

        Returns:
            Number of deleted points.

        Raises:
            ValueError: Neither ids nor a filter, both, or a filter that matches everything.

        Warns:
            UnknownIdWarning: Documents that are not stored; the message names them. The others are deleted.
        """
        if document_ids is None or filter is not None:
            return self.collection.delete(document_ids, filter=filter)
        ids = _several(document_ids)
        unknown = self.collection.unknown_documents(ids)
        deleted = self.collection.delete_documents(ids)
        if unknown:
            shown = ", ".join(map(repr, unknown[:5])) + (f" and {len(unknown) - 5} more" if len(unknown) > 5 else "")
            message = f"{self.collection.location} has no document {shown}; nothing was deleted for it"
            warnings.warn(message, UnknownIdWarning, stacklevel=external_stacklevel())
        return deleted

    async def adelete(self, document_ids: Iterable[str] | None = None, *, filter: FilterLike | None = None) -> int:
        """``delete`` in a thread."""
        return await asyncio.to_thread(self.delete, document_ids, filter=filter)

    def get(self, ids: Iterable[str]) -> dict[str, Chunk]:
        """Return stored chunks by id, such as the ids of hits; ids that do not exist are left out.

        A document that fits into one chunk has the document's id. ``scroll(filter)`` returns several chunks of a
        document.
        """
        return self.collection.get(_several(ids))

    def scroll(self, filter: FilterLike | None = None, *, batch: int = 256) -> Iterator[Chunk]:
        """Iterate over all stored chunks, or those that match a filter, in an order that stays the same.

        Args:
            filter: Condition on the metadata.
            batch: Number of chunks read at a time.
        """
        return self.collection.scroll(filter, batch=batch)

    def count(self, filter: FilterLike | None = None) -> int:
        """Return the exact number of points, or of those that match a filter."""
        return self.collection.count(filter)

    def __len__(self) -> int:
        """Return the number of points, as ``count`` does."""
        return self.count()

    def __bool__(self) -> bool:
        """Return true, so that ``if store:`` does not depend on what is stored."""
        return True

    def close(self) -> None:
        """Close the collection; the embedder stays usable."""
        self.collection.close()

    def __enter__(self) -> T1VectorStore:
        """Close at the end of a ``with`` block."""
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"T1VectorStore({self.collection!r}, model={self.embedder.identity.model!r})"

    def _steps(self, query: str, options: SearchOptions) -> Steps:
        """Return the steps of a search, after refusing whatever the collection would refuse."""
        by_words = self.collection.hybrid if options.hybrid is None else options.hybrid
        given = set_options(options, VectorSearchOptions)
        checked = self.collection.check_search(text=query if by_words else None, **given)
        if options.think == "auto":
            if not self.collection.schema.has_dense:
                raise ValueError(f"think='auto' decides by the similarity of vectors, and {self.collection!r} has none")
            self.embedder.check_query(query, **with_thought(options))
        if options.explain and not self.collection.schema.has_dense:
            raise ValueError(f"explain=True compares vectors, and {self.collection!r} has sparse ones only")
        calibration = self.collection.calibration
        return search_steps(query, options, checked, None if calibration is None else calibration.threshold)

    def _answer(self, request: Request) -> Any:  # noqa: ANN401 - what the request says
        """Carry out a step of a search that generates no thought."""
        if isinstance(request, Find):
            return self.collection.search(request.vector, **request.options)
        if isinstance(request, ReadVectors):
            return {point.chunk.id: point.vector for point in self.collection.read_points(request.ids)}
        if isinstance(request, EmbedQueries):
            return self.embedder.embed_queries(request.texts, **request.options)
        assert isinstance(request, EmbedDocuments)
        return self.embedder.embed_documents(request.texts, truncation="allow").vectors

    async def _aanswer(self, request: Request) -> Any:  # noqa: ANN401 - what the request says
        """``_answer`` without blocking the event loop."""
        if isinstance(request, Find):
            return await self.collection.asearch(request.vector, **request.options)
        return await asyncio.to_thread(self._answer, request)

    def _stream(self, query: str, steps: Steps, items: EmbeddingItems) -> Generator[str | SearchResult, None, None]:
        """Carry out the steps of a search, the first of which has the given items."""
        while True:
            with closing(items):
                for item in items:
                    if isinstance(item, QueryEmbedding):
                        break
                    yield item
            assert isinstance(item, QueryEmbedding)
            step = steps.send(item)
            while not isinstance(step, Embed | SearchResult):
                step = steps.send(self._answer(step))
            if isinstance(step, SearchResult):
                yield step
                return
            items = self.embedder.stream_query(query, **step.options)

    async def _astream(
        self, query: str, steps: Steps, items: AsyncEmbeddingItems
    ) -> AsyncGenerator[str | SearchResult, None]:
        """Carry out the steps of a search, the first of which has the given items."""
        while True:
            async with aclosing(items):
                async for item in items:
                    if isinstance(item, QueryEmbedding):
                        break
                    yield item
            assert isinstance(item, QueryEmbedding)
            step = steps.send(item)
            while not isinstance(step, Embed | SearchResult):
                step = steps.send(await self._aanswer(step))
            if isinstance(step, SearchResult):
                yield step
                return
            items = self.embedder.astream_query(query, **step.options)


def check_compatible(embedder: T1Embedder, collection: Collection, other: str) -> None:
    """Check that a model's vectors are close to those that a collection holds of another model.

    Stored texts are embedded with the model. The bounds are defaults of this project: all quantisations down to 4 bits
    of the models that were measured keep them, and rankings with them (see ``docs/laptop.md``).

    Args:
        embedder: The model.
        collection: The collection.
        other: Name or fingerprint of the other model.

    Raises:
        CollectionMismatch: They are not close, or not of the same length.
        ValueError: The collection holds vectors of yet another model, or no points.
    """
    held, own = collection.identity, repr(embedder.identity.model)
    name = f"{held.model!r} ({held.fingerprint})"
    if other not in (held.model, held.fingerprint):
        raise ValueError(f"compatible_with={other!r}, but {collection.location} holds vectors of {name}")
    if held.dimension != embedder.dimension:
        raise CollectionMismatch(
            f"{collection.location} holds vectors of length {held.dimension}, and those of {own} have "
            f"{embedder.dimension}"
        )
    points = list(islice(collection.scroll(batch=COMPATIBLE_SAMPLE, with_vectors=True), COMPATIBLE_SAMPLE))
    if not points:
        raise ValueError(f"{collection.location} holds no points by which {own} could be compared")
    vectors = embedder.embed_documents([point.chunk.text for point in points], truncation="allow").vectors
    found = Cosines.of(np.stack([point.vector for point in points]), vectors)
    if found.mean < MIN_MEAN_COSINE or found.least < MIN_COSINE:
        raise CollectionMismatch(
            f"{own} is not compatible with {name}, whose vectors {collection.location} holds: the cosines between "
            f"their vectors of {len(points)} stored texts are {found.mean:.4f} on average and {found.least:.4f} at "
            f"least; {MIN_MEAN_COSINE} and {MIN_COSINE} are needed. Rebuild it: t1 reindex --model MODEL"
        )


def _several(ids: Iterable[str]) -> Sequence[str]:
    return [ids] if isinstance(ids, str) else list(ids)
