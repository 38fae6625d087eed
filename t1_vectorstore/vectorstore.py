"""Where embedder and collection meet: documents in, thoughts and hits out."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from typing_extensions import Unpack

from t1_vectorstore.asking import Asking, Question
from t1_vectorstore.embedder import T1Embedder
from t1_vectorstore.errors import CollectionMismatch
from t1_vectorstore.filters import FilterLike
from t1_vectorstore.ingest import NAMED, LoadProgress, LoadReport, Reader, load
from t1_vectorstore.specification import Aggregation
from t1_vectorstore.storage import Storage
from t1_vectorstore.store import Collection
from t1_vectorstore.types import Document, Fusion, IndexKind, SearchResult, Truncation

if TYPE_CHECKING:
    from t1_vectorstore.chunking import Chunker


class T1VectorStore:
    """A collection together with the model whose vectors it holds. Thread-safe.

    Attributes:
        embedder: thinks about queries, and reads documents.
        collection: keeps the points; use it directly for what needs no model.
    """

    def __init__(self, embedder: T1Embedder, collection: Collection) -> None:
        """Join an embedder and a collection that are already open.

        Raises:
            CollectionMismatch: the collection holds another model's vectors.
        """
        if collection.identity.fingerprint != embedder.identity.fingerprint:
            raise CollectionMismatch(
                f"{collection.location} holds vectors of {collection.identity}, and the embedder is {embedder.identity}"
            )
        self.embedder = embedder
        self.collection = collection

    @classmethod
    def open(
        cls,
        location: str | os.PathLike[str],
        embedder: T1Embedder,
        *,
        name: str = "t1",
        create: bool = True,
        hybrid: bool | None = None,
        indexes: Mapping[str, IndexKind] | None = None,
        tenant: str | None = None,
        storage: Storage | None = None,
        api_key: str | None = None,
    ) -> T1VectorStore:
        """Open a collection for a model, and create it if it does not exist yet.

        ``Collection.open`` has more options; join what it returns with an embedder by ``T1VectorStore(...)``.

        Args:
            location: a folder (embedded), ``:memory:``, or the URL of a Qdrant server.
            embedder: the model; a collection filled by another one is refused.
            name: the collection's name.
            create: whether to create it if need be.
            hybrid: whether to store the words of the texts beside the vectors and to search by both; fixed at creation.
                ``None``: as the collection has it, off for a new one.
            indexes: metadata fields to filter by, and what they hold, such as ``{"year": "integer"}``; likewise.
            tenant: the metadata field that says whose a document is; likewise.
            storage: how the points are kept; likewise.
            api_key: for a server.

        Raises:
            CollectionMismatch: the collection holds another model's vectors, or was made with other options.
            StoreError: it cannot be opened; see ``Collection.open``.
        """
        collection = Collection.open(
            location,
            name=name,
            identity=embedder.identity,
            create=create,
            hybrid=hybrid,
            indexes=indexes,
            tenant=tenant,
            storage=storage,
            api_key=api_key,
        )
        return cls(embedder, collection)

    def add(
        self,
        documents: Iterable[Document] | Reader,
        *,
        chunker: Chunker | None = None,
        dead_letters: str | os.PathLike[str] | None = None,
        prune: bool | FilterLike = False,
        named: int | None = NAMED,
        on_progress: Callable[[LoadProgress], None] | None = None,
    ) -> LoadReport:
        """Embed and store documents; one that is stored unchanged is not embedded again.

        Long documents are cut into chunks. A document that cannot be stored is in the report's ``failures``, with the
        reason, and takes no other along.

        Args:
            documents: any iterable, or a reader such as ``partial(read, "docs")``; read as the work goes on, in the
                calling thread.
            chunker: cuts long documents; None takes the default one.
            dead_letters: a file for what was not stored, as JSON Lines that can be loaded again; it begins empty.
            prune: at the end, delete the documents that the source does not have; a filter limits it to those whose
                metadata satisfies it. See ``ingest.load``.
            named: how many failures, and how many truncated chunks, the report names at most; None for all.
            on_progress: told how far it is, in the calling thread.

        Raises:
            ValueError: ``prune`` with a source that has no document.
            TypeError: something other than a ``Document``.
            BackendError: the model failed; what was stored before stays.
            StoreError: the collection failed; likewise.
        """
        return load(
            documents,
            self.embedder,
            self.collection,
            chunker=chunker,
            dead_letters=dead_letters,
            prune=prune,
            named=named,
            on_progress=on_progress,
        )

    async def aadd(
        self,
        documents: Iterable[Document] | Reader,
        *,
        chunker: Chunker | None = None,
        dead_letters: str | os.PathLike[str] | None = None,
        prune: bool | FilterLike = False,
        named: int | None = NAMED,
        on_progress: Callable[[LoadProgress], None] | None = None,
    ) -> LoadReport:
        """``add`` in a thread, where ``documents`` is read and ``on_progress`` is called: the model is most of it."""
        return await asyncio.to_thread(
            self.add,
            documents,
            chunker=chunker,
            dead_letters=dead_letters,
            prune=prune,
            named=named,
            on_progress=on_progress,
        )

    def search(
        self,
        query: str,
        *,
        limit: int = 10,
        offset: int = 0,
        filter: FilterLike | None = None,
        score_threshold: float | None = None,
        hybrid: bool | None = None,
        thought_terms: bool = True,
        fusion: Fusion = "rrf",
        vector_weight: float | None = None,
        diversity: float | None = None,
        candidates: int | None = None,
        group: bool = False,
        think: bool | None = None,
        budget: int | None = None,
        deadline: float | None = None,
        samples: int | None = None,
        task: str | None = None,
        refine_steps: int | None = None,
        refine: Aggregation | None = None,
        truncation: Truncation | None = None,
    ) -> SearchResult:
        """Think about a query, then search with its vector.

        Args:
            query: what is asked.
            limit: how many hits at most.
            offset: how many of the best to skip.
            filter: what the metadata must satisfy, such as ``{"country": "France", "year": {"gte": 2000}}``.
            score_threshold: the lowest cosine similarity to return, also of what was found by its words: a hit whose
                words match and whose vector is far is then left out.
            hybrid: search by words as well as by the vector. ``None``: if the collection can.
            thought_terms: the words are the query's and its thoughts', not the query's alone.
            fusion: how the two rankings become one; see ``Collection.search``, also for the next four.
            vector_weight: the vector's share, from 0 (words only) to 1 (vector only). Default: both count the same.
            diversity: choose hits that are also unlike each other: 0 is relevance only, 1 is difference only.
            candidates: how many the vector, and the words, contribute to a fusion or to a choice.
            group: of each document only its best chunk.
            think: on, off, or ``None`` for what the model was made for.
            budget: most tokens of the thought.
            deadline: seconds after which the thought is closed as it stands.
            samples: how many thoughts, each with random numbers of its own; the vector is the mean of theirs.
            task: one of the checkpoint's task instructions.
            refine_steps: passes in hidden space after the thought; see ``T1Embedder.embed_queries``, also for the next.
            refine: how their states become the vector, ``mean`` or ``last``.
            truncation: another policy than the embedder's for a query over the limit.

        Raises:
            InvalidText: an empty query.
            TextTooLong: a query over the limit under the ``raise`` policy.
            ValueError: an option with a value it does not take. Nothing has been thought then.
            BackendError: the model failed.
            StoreError: the collection failed.
        """
        question = Question(
            query,
            self.embedder,
            self.collection,
            limit=limit,
            offset=offset,
            filter=filter,
            score_threshold=score_threshold,
            hybrid=hybrid,
            thought_terms=thought_terms,
            fusion=fusion,
            vector_weight=vector_weight,
            diversity=diversity,
            candidates=candidates,
            group=group,
            think=think,
            budget=budget,
            deadline=deadline,
            samples=samples,
            task=task,
            refine_steps=refine_steps,
            refine=refine,
            truncation=truncation,
        )
        return question.answer(self.collection.search(question.embed(), **question.searching))

    async def asearch(self, query: str, **options: Unpack[Asking]) -> SearchResult:
        """``search`` without holding up the event loop: the model works in a thread, a server is awaited."""
        question = Question(query, self.embedder, self.collection, **options)
        vector = await asyncio.to_thread(question.embed)
        return question.answer(await self.collection.asearch(vector, **question.searching))

    def delete(self, document_ids: Iterable[str] | None = None, *, filter: FilterLike | None = None) -> int:
        """Delete documents with all their chunks, by id or by what their metadata satisfies.

        Returns:
            How many points were removed.

        Raises:
            ValueError: neither ids nor a filter, or an empty filter: nothing is ever deleted by accident.
        """
        if document_ids is None or filter is not None:
            return self.collection.delete(document_ids, filter=filter)
        ids: Sequence[str] = [document_ids] if isinstance(document_ids, str) else list(document_ids)
        return self.collection.delete_documents(ids)

    async def adelete(self, document_ids: Iterable[str] | None = None, *, filter: FilterLike | None = None) -> int:
        """``delete`` in a thread."""
        return await asyncio.to_thread(self.delete, document_ids, filter=filter)

    def count(self, filter: FilterLike | None = None) -> int:
        """How many points there are, or satisfy a filter; exact."""
        return self.collection.count(filter)

    def close(self) -> None:
        """Close the collection; the embedder stays usable."""
        self.collection.close()

    def __enter__(self) -> T1VectorStore:
        """Use the store in a ``with`` statement."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def __repr__(self) -> str:
        return f"T1VectorStore({self.collection!r}, model={self.embedder.identity.model!r})"
