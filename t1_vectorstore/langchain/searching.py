"""The reading half of the store: every search that LangChain knows, each a view of one result."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore
from typing_extensions import TypedDict, Unpack

from t1_vectorstore.asking import Asking
from t1_vectorstore.embedder import T1Embedder
from t1_vectorstore.langchain.embeddings import T1Embeddings
from t1_vectorstore.langchain.options import check_names
from t1_vectorstore.store import Collection, Searching
from t1_vectorstore.types import Chunk, Hit, SearchResult, Thought
from t1_vectorstore.vectorstore import T1VectorStore

# LangChain's methods take any keyword and hand it on, so that a misspelt one is ignored. Ours name what they take:
# hence the `type: ignore[override]` of this file.


class Choosing(TypedDict):
    """The options of a diverse choice."""

    diversity: float
    candidates: int


class T1Searches(VectorStore):
    """Searches over one collection. Every score and threshold is the cosine similarity, higher is closer.

    Attributes:
        t1: the package's own store beneath; use it directly for what LangChain has no word for.
    """

    def __init__(self, collection: Collection, embedding: T1Embeddings) -> None:
        """Search an open collection with a model.

        Raises:
            CollectionMismatch: the collection holds another model's vectors.
            TypeError: the embedding is not T1's.
        """
        self.t1 = T1VectorStore(embedder_of(embedding), collection)
        self._embeddings = embedding

    @property
    def embeddings(self) -> T1Embeddings:
        """What turns texts into vectors here."""
        return self._embeddings

    def find(self, query: str, k: int = 4, **options: Unpack[Asking]) -> SearchResult:
        """The package's own result, of which every other search by text shows a part: hits, thoughts and timings.

        Args:
            query: what is asked.
            k: how many documents at most, 1 or more.
            options: those of ``T1VectorStore.search``; thinking options go before those of the embeddings.

        Raises:
            InvalidText: an empty query.
            ValueError: an option with a value it does not take. Nothing has been thought then.
            BackendError: the model failed.
            StoreError: the collection failed.
        """
        return self.t1.search(query, **self._asking(k, options))

    async def afind(self, query: str, k: int = 4, **options: Unpack[Asking]) -> SearchResult:
        """``find`` without holding up the event loop."""
        return await self.t1.asearch(query, **self._asking(k, options))

    def similarity_search(self, query: str, k: int = 4, **options: Unpack[Asking]) -> list[Document]:  # type: ignore[override]
        """The documents nearest to a query, best first; options and errors are those of ``find``."""
        return _documents(self.find(query, k, **options).hits)

    async def asimilarity_search(self, query: str, k: int = 4, **options: Unpack[Asking]) -> list[Document]:  # type: ignore[override]
        """``similarity_search`` without holding up the event loop."""
        return _documents((await self.afind(query, k, **options)).hits)

    def similarity_search_with_score(
        self, query: str, k: int = 4, **options: Unpack[Asking]
    ) -> list[tuple[Document, float]]:
        """The documents nearest to a query and their cosine similarities, best first."""
        return _scored(self.find(query, k, **options).hits)

    async def asimilarity_search_with_score(
        self, query: str, k: int = 4, **options: Unpack[Asking]
    ) -> list[tuple[Document, float]]:
        """``similarity_search_with_score`` without holding up the event loop."""
        return _scored((await self.afind(query, k, **options)).hits)

    def similarity_search_with_thought(
        self, query: str, k: int = 4, **options: Unpack[Asking]
    ) -> tuple[list[tuple[Document, float]], Sequence[Thought]]:
        """Documents with scores, best first, and the thoughts they were found by (none where thinking was off)."""
        result = self.find(query, k, **options)
        return _scored(result.hits), result.thoughts

    async def asimilarity_search_with_thought(
        self, query: str, k: int = 4, **options: Unpack[Asking]
    ) -> tuple[list[tuple[Document, float]], Sequence[Thought]]:
        """``similarity_search_with_thought`` without holding up the event loop."""
        result = await self.afind(query, k, **options)
        return _scored(result.hits), result.thoughts

    def similarity_search_with_relevance_scores(  # type: ignore[override]
        self, query: str, k: int = 4, **options: Unpack[Asking]
    ) -> list[tuple[Document, float]]:
        """Documents with scores in [0, 1], best first: the cosine similarity, where less than 0 counts as 0.

        ``score_threshold`` is a cosine similarity here, too, so that it lets the same documents pass everywhere.
        """
        return _relevant(self.find(query, k, **options).hits)

    async def asimilarity_search_with_relevance_scores(  # type: ignore[override]
        self, query: str, k: int = 4, **options: Unpack[Asking]
    ) -> list[tuple[Document, float]]:
        """``similarity_search_with_relevance_scores`` without holding up the event loop."""
        return _relevant((await self.afind(query, k, **options)).hits)

    def similarity_search_by_vector(  # type: ignore[override]
        self, embedding: Sequence[float], k: int = 4, **options: Unpack[Searching]
    ) -> list[Document]:
        """The documents nearest to a vector, best first; options are those of ``Collection.search``.

        Raises:
            ValueError: a vector of another dimension or an option with a value it does not take.
            StoreError: the collection failed.
        """
        return _documents(self.t1.collection.search(embedding, **_nearest(k, options)))

    def similarity_search_with_score_by_vector(
        self, embedding: Sequence[float], k: int = 4, **options: Unpack[Searching]
    ) -> list[tuple[Document, float]]:
        """``similarity_search_by_vector`` with cosine similarities."""
        return _scored(self.t1.collection.search(embedding, **_nearest(k, options)))

    def max_marginal_relevance_search(  # type: ignore[override]
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **options: Unpack[Asking]
    ) -> list[Document]:
        """Documents near the query and unlike each other, in the order of their choice.

        Args:
            query: what is asked.
            k: how many documents at most.
            fetch_k: the choice is among so many nearest documents.
            lambda_mult: 1 is relevance only, 0 is difference only.
            options: as for ``find``.
        """
        diverse: Asking = {**options, **marginal(fetch_k, lambda_mult)}
        return self.similarity_search(query, k, **diverse)

    async def amax_marginal_relevance_search(  # type: ignore[override]
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **options: Unpack[Asking]
    ) -> list[Document]:
        """``max_marginal_relevance_search`` without holding up the event loop."""
        diverse: Asking = {**options, **marginal(fetch_k, lambda_mult)}
        return await self.asimilarity_search(query, k, **diverse)

    def max_marginal_relevance_search_by_vector(  # type: ignore[override]
        self,
        embedding: Sequence[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        **options: Unpack[Searching],
    ) -> list[Document]:
        """``max_marginal_relevance_search`` for a vector. No thought is involved."""
        diverse: Searching = {**options, **marginal(fetch_k, lambda_mult)}
        return self.similarity_search_by_vector(embedding, k, **diverse)

    async def asimilarity_search_by_vector(  # type: ignore[override]
        self, embedding: Sequence[float], k: int = 4, **options: Unpack[Searching]
    ) -> list[Document]:
        """``similarity_search_by_vector`` without holding up the event loop."""
        return _documents(await self.t1.collection.asearch(embedding, **_nearest(k, options)))

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """The documents that exist among ``ids``, in the order of ``ids``."""
        found = self.t1.collection.get(ids)
        return [to_document(found[each]) for each in ids if each in found]

    def _asking(self, k: int, options: Asking) -> Asking:
        check_names(options, Asking)
        return {**options, **self._embeddings.thinking(options), "limit": k}


def embedder_of(embedding: Embeddings) -> T1Embedder:
    """The model behind LangChain's object.

    Raises:
        TypeError: it is not T1's.
    """
    if not isinstance(embedding, T1Embeddings):
        raise TypeError(
            f"this store needs T1Embeddings, got {type(embedding).__name__}: a collection remembers whose vectors "
            "it holds. For another model use langchain_qdrant.QdrantVectorStore"
        )
    return embedding.embedder


def marginal(fetch_k: int, lambda_mult: float) -> Choosing:
    """LangChain's two numbers for a diverse choice, in this package's terms.

    Raises:
        ValueError: ``lambda_mult`` is not in [0, 1].
    """
    if not 0 <= lambda_mult <= 1:
        raise ValueError(f"lambda_mult is in [0, 1]: 1 is relevance only, 0 difference only; got {lambda_mult!r}")
    return {"diversity": 1 - lambda_mult, "candidates": fetch_k}


def to_document(found: Hit | Chunk) -> Document:
    """A stored text as LangChain's document: its point's id, its text, its metadata, and nothing else."""
    return Document(page_content=found.text, metadata=dict(found.metadata), id=found.id)


def _nearest(k: int, options: Searching) -> Searching:
    check_names(options, Searching)
    return {**options, "limit": k}


def _documents(hits: Iterable[Hit]) -> list[Document]:
    return [to_document(hit) for hit in hits]


def _scored(hits: Iterable[Hit]) -> list[tuple[Document, float]]:
    return [(to_document(hit), hit.score) for hit in hits]


def _relevant(hits: Iterable[Hit]) -> list[tuple[Document, float]]:
    return [(to_document(hit), max(0.0, hit.score)) for hit in hits]
