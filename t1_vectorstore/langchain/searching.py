"""The searches of the LangChain store: each of LangChain's methods returns a part of one ``SearchResult``."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore
from pydantic import Field

from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.embedding.thinking import merge_options
from t1_vectorstore.engines.ids import point_id
from t1_vectorstore.keyword_options import Integer, Number, Options, set_options
from t1_vectorstore.langchain.embeddings import T1Embeddings
from t1_vectorstore.langchain.other_embeddings import OtherEmbedder
from t1_vectorstore.options import MAX_COUNT, PageOptions, SearchOptions, ThinkingOptions, VectorSearchOptions
from t1_vectorstore.types import Chunk, FilterLike, Hit, SearchResult, Thought
from t1_vectorstore.vectorstore import T1VectorStore

ID_KEY, COLLECTION_KEY = "_id", "_collection_name"
"""Metadata keys under which langchain-qdrant returns a point's id and its collection."""
EXPLANATION_KEY = "t1_explanation"
"""Metadata key of a document's explanation, if ``explain`` is set: ``types.Explanation`` as JSON."""

# In this module, `options` are keyword arguments as LangChain passes them on: the fields of SearchOptions, with `k`
# instead of `limit`. They are validated, so that a misspelt option is an error and not ignored.


class _KOptions(PageOptions):
    limit: Integer = Field(default=4, ge=1, le=MAX_COUNT, alias="k")


class _SearchOptions(_KOptions, SearchOptions):
    """The options of a search by text, under LangChain's names."""


class _VectorSearchOptions(_KOptions, VectorSearchOptions):
    """The options of a search by vector, under LangChain's names."""


class MmrOptions(Options):
    """LangChain's options of maximal marginal relevance."""

    fetch_k: Integer = Field(default=20, ge=1, le=MAX_COUNT)
    """Number of nearest documents to choose from."""
    lambda_mult: Number = Field(default=0.5, ge=0, le=1)
    """1 is relevance only, 0 is difference only."""

    def to_search_options(self) -> dict[str, Any]:
        """Return the same as options of this package."""
        return {"diversity": 1 - self.lambda_mult, "candidates": self.fetch_k}


class T1Searches(VectorStore):
    """Searches over one collection. Every score and threshold is the cosine similarity; higher is closer.

    Attributes:
        t1: The package's own store. Use it directly for what LangChain has no method for.
    """

    def __init__(
        self,
        store: T1VectorStore,
        embedding: Embeddings | None,
        *,
        defaults: Mapping[str, Any] | None = None,
        id_in_metadata: bool = False,
        chunks: bool = False,
    ) -> None:
        """Search a store.

        Args:
            store: The package's own store.
            embedding: The embeddings whose model it has; ``None`` if it has sparse vectors only.
            defaults: Options of each search that does not give them.
            id_in_metadata: Add ``_id`` and ``_collection_name`` to the metadata of found documents.
            chunks: Return whole documents, each once, for chunks that are found.
        """
        self.t1 = store
        self._embeddings = embedding
        self._defaults = dict(defaults or {})
        self.id_in_metadata = id_in_metadata
        self.chunks = chunks

    @property
    def embeddings(self) -> Any:
        """The embeddings of this store."""
        return self._embeddings

    def find(self, query: str, k: int = 4, **options: Any) -> SearchResult:
        """Return hits, thoughts and timings; all other searches by text return a part of this result.

        Args:
            query: The query.
            k: Maximum number of documents.
            options: The fields of ``SearchOptions`` except ``limit``. Thinking options
                override those of the embeddings.

        Raises:
            InvalidText: An empty query.
            TypeError: An unknown option, or a value of the wrong type.
            ValueError: A value that an option does not accept. The model has not been run then.
            BackendError: The model failed.
            StoreError: The collection failed.
        """
        return self.t1.search(query, **self._search_options(k=k, **options))

    async def afind(self, query: str, k: int = 4, **options: Any) -> SearchResult:
        """``find`` without blocking the event loop."""
        return await self.t1.asearch(query, **self._search_options(k=k, **options))

    def similarity_search(
        self, query: str, k: int = 4, filter: FilterLike | None = None, **options: Any
    ) -> list[Document]:
        """Return the documents nearest to a query, best first; see ``find``."""
        return self.to_documents(self.find(query, k, filter=filter, **options).hits)

    async def asimilarity_search(
        self, query: str, k: int = 4, filter: FilterLike | None = None, **options: Any
    ) -> list[Document]:
        """``similarity_search`` without blocking the event loop."""
        return await self.ato_documents((await self.afind(query, k, filter=filter, **options)).hits)

    def similarity_search_with_score(
        self, query: str, k: int = 4, filter: FilterLike | None = None, **options: Any
    ) -> list[tuple[Document, float]]:
        """Return the documents nearest to a query and their cosine similarities, best first; see ``find``."""
        hits = self.find(query, k, filter=filter, **options).hits
        return _with_scores(self.to_documents(hits), hits)

    async def asimilarity_search_with_score(
        self, query: str, k: int = 4, filter: FilterLike | None = None, **options: Any
    ) -> list[tuple[Document, float]]:
        """``similarity_search_with_score`` without blocking the event loop."""
        hits = (await self.afind(query, k, filter=filter, **options)).hits
        return _with_scores(await self.ato_documents(hits), hits)

    def similarity_search_with_thought(
        self, query: str, k: int = 4, **options: Any
    ) -> tuple[list[tuple[Document, float]], Sequence[Thought]]:
        """Return documents with scores, best first, and the thoughts behind them; see ``find``."""
        result = self.find(query, k, **options)
        return _with_scores(self.to_documents(result.hits), result.hits), result.thoughts

    async def asimilarity_search_with_thought(
        self, query: str, k: int = 4, **options: Any
    ) -> tuple[list[tuple[Document, float]], Sequence[Thought]]:
        """``similarity_search_with_thought`` without blocking the event loop."""
        result = await self.afind(query, k, **options)
        return _with_scores(await self.ato_documents(result.hits), result.hits), result.thoughts

    def similarity_search_with_relevance_scores(
        self, query: str, k: int = 4, **options: Any
    ) -> list[tuple[Document, float]]:
        """Return documents with scores in [0, 1], best first: the cosine similarity, negative ones as 0.

        ``score_threshold`` is a cosine similarity here, too, so that the same documents pass it everywhere.
        """
        hits = self.find(query, k, **options).hits
        return _with_relevance(self.to_documents(hits), hits)

    async def asimilarity_search_with_relevance_scores(
        self, query: str, k: int = 4, **options: Any
    ) -> list[tuple[Document, float]]:
        """``similarity_search_with_relevance_scores`` without blocking the event loop."""
        hits = (await self.afind(query, k, **options)).hits
        return _with_relevance(await self.ato_documents(hits), hits)

    def similarity_search_by_vector(
        self, embedding: Sequence[float], k: int = 4, filter: FilterLike | None = None, **options: Any
    ) -> list[Document]:
        """Return the documents nearest to a vector, best first.

        Args:
            embedding: The vector, of any length.
            k: Maximum number of documents.
            filter: Condition on the metadata, or a filter of qdrant-client.
            options: The other fields of ``VectorSearchOptions`` except ``limit``.

        Raises:
            ValueError: A vector of another dimension, or a value that an option does not accept.
            StoreError: The collection failed.
        """
        return self.to_documents(
            self.t1.collection.search(embedding, **self._vector_options(k=k, filter=filter, **options))
        )

    async def asimilarity_search_by_vector(
        self, embedding: Sequence[float], k: int = 4, filter: FilterLike | None = None, **options: Any
    ) -> list[Document]:
        """``similarity_search_by_vector`` without blocking the event loop."""
        hits = await self.t1.collection.asearch(embedding, **self._vector_options(k=k, filter=filter, **options))
        return await self.ato_documents(hits)

    def similarity_search_with_score_by_vector(
        self, embedding: Sequence[float], k: int = 4, filter: FilterLike | None = None, **options: Any
    ) -> list[tuple[Document, float]]:
        """``similarity_search_by_vector`` with cosine similarities."""
        hits = self.t1.collection.search(embedding, **self._vector_options(k=k, filter=filter, **options))
        return _with_scores(self.to_documents(hits), hits)

    async def asimilarity_search_with_score_by_vector(
        self, embedding: Sequence[float], k: int = 4, filter: FilterLike | None = None, **options: Any
    ) -> list[tuple[Document, float]]:
        """``similarity_search_with_score_by_vector`` without blocking the event loop."""
        hits = await self.t1.collection.asearch(embedding, **self._vector_options(k=k, filter=filter, **options))
        return _with_scores(await self.ato_documents(hits), hits)

    def max_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **options: Any
    ) -> list[Document]:
        """Return documents near the query and unlike each other, in the order of choice.

        Args:
            query: The query.
            k: Maximum number of documents.
            fetch_k: Number of nearest documents to choose from.
            lambda_mult: 1 is relevance only, 0 is difference only.
            options: See ``find``.
        """
        return self.similarity_search(query, k, **{**options, **_mmr_options(fetch_k, lambda_mult)})

    async def amax_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **options: Any
    ) -> list[Document]:
        """``max_marginal_relevance_search`` without blocking the event loop."""
        return await self.asimilarity_search(query, k, **{**options, **_mmr_options(fetch_k, lambda_mult)})

    def max_marginal_relevance_search_by_vector(
        self, embedding: Sequence[float], k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **options: Any
    ) -> list[Document]:
        """``max_marginal_relevance_search`` for a vector, without a thought."""
        return self.similarity_search_by_vector(embedding, k, **{**options, **_mmr_options(fetch_k, lambda_mult)})

    async def amax_marginal_relevance_search_by_vector(
        self, embedding: Sequence[float], k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **options: Any
    ) -> list[Document]:
        """``max_marginal_relevance_search_by_vector`` without blocking the event loop."""
        mmr = _mmr_options(fetch_k, lambda_mult)
        return await self.asimilarity_search_by_vector(embedding, k, **{**options, **mmr})

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Return the documents that exist among ``ids``, in the order of ``ids``."""
        names = to_ids(ids)
        collection = self.t1.collection
        found = collection.get_documents(names) if self.chunks else collection.get(names)
        return [self._to_document(found[each]) for each in names if each in found]

    def to_documents(self, hits: Iterable[Hit]) -> list[Document]:
        """Convert hits into LangChain's documents: id, text and metadata; of a store with chunks, the whole documents.

        If the metadata has ids as in langchain-qdrant, see ``id_in_metadata``. The explanation of a hit is in the
        metadata, under ``t1_explanation``.
        """
        hits = list(hits)
        found: Sequence[Hit | Chunk] = hits
        if self.chunks:
            whole = self.t1.collection.get_documents({hit.document_id for hit in hits})
            found = [whole.get(hit.document_id, hit) for hit in hits]
        documents = [self._to_document(each) for each in found]
        for document, hit in zip(documents, hits, strict=True):
            if hit.explanation is not None:
                document.metadata[EXPLANATION_KEY] = hit.explanation.to_json()
        return documents

    async def ato_documents(self, hits: Iterable[Hit]) -> list[Document]:
        """``to_documents``, in a thread if it reads documents."""
        return await asyncio.to_thread(self.to_documents, hits) if self.chunks else self.to_documents(hits)

    def _to_document(self, found: Hit | Chunk) -> Document:
        document = Document(page_content=found.text, metadata=dict(found.metadata), id=found.id)
        if self.id_in_metadata:
            stored_at = point_id(found.id)
            name = stored_at if isinstance(stored_at, int) else found.id
            document.metadata |= {ID_KEY: name, COLLECTION_KEY: self.t1.collection.name}
        return document

    def _search_options(self, **options: Any) -> dict[str, Any]:
        checked = _SearchOptions(**{**self._defaults, **self._grouping, **_translated(options)})
        if checked.explain and not isinstance(self._embeddings, T1Embeddings):
            raise TypeError(f"explain=True needs T1Embeddings, and the store has {type(self._embeddings).__name__}")
        levels: list[ThinkingOptions] = [checked]
        if isinstance(self._embeddings, ThinkingOptions):
            levels.append(self._embeddings)
        return {**set_options(checked, SearchOptions), **dict(merge_options(*levels))}

    def _vector_options(self, **options: Any) -> dict[str, Any]:
        checked = _VectorSearchOptions(**{**self._grouping, **_translated(options)})
        return set_options(checked, VectorSearchOptions)

    @property
    def _grouping(self) -> dict[str, Any]:
        """The option by which a search returns each document once."""
        return {"group": True} if self.chunks else {}


def to_ids(ids: Sequence[Any]) -> list[str]:
    """Return ids as strings; LangChain's are strings, and langchain-qdrant's also integers and UUIDs."""
    check_several("ids", ids)
    return [str(each) if isinstance(each, int | UUID) and not isinstance(each, bool) else each for each in ids]


def check_several(what: str, given: object) -> None:
    """Refuse a single string or document; a string would be read as its characters."""
    if isinstance(given, str | bytes | Document):
        raise TypeError(f"{what} takes several, got a single {type(given).__name__}; wrap it in a list")


def embedder_of(embedding: Embeddings | None) -> T1Embedder:
    """Return the model behind LangChain's embeddings; ``None`` stands for sparse vectors only.

    Raises:
        TypeError: They are not LangChain's ``Embeddings``.
    """
    if isinstance(embedding, T1Embeddings):
        return embedding.embedder
    if embedding is not None and not isinstance(embedding, Embeddings):
        raise TypeError(f"embedding must be LangChain's Embeddings, got {type(embedding).__name__}: {embedding!r:.100}")
    return OtherEmbedder(embedding)


def _translated(options: dict[str, Any]) -> dict[str, Any]:
    """Translate langchain-qdrant's options of a search that have another name here."""
    options = dict(options)
    if (fusion := options.pop("hybrid_fusion", None)) is not None:
        options["fusion"] = getattr(getattr(fusion, "fusion", fusion), "value", fusion)
    return options


def _mmr_options(fetch_k: int, lambda_mult: float) -> dict[str, Any]:
    return MmrOptions(fetch_k=fetch_k, lambda_mult=lambda_mult).to_search_options()


def _with_scores(documents: Sequence[Document], hits: Sequence[Hit]) -> list[tuple[Document, float]]:
    return [(document, hit.score) for document, hit in zip(documents, hits, strict=True)]


def _with_relevance(documents: Sequence[Document], hits: Sequence[Hit]) -> list[tuple[Document, float]]:
    return [(document, max(0.0, hit.score)) for document, hit in zip(documents, hits, strict=True)]
