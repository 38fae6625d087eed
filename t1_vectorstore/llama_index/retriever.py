"""``T1Retriever``: think about a query, search, and tell the thought."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.embeddings.base import Embedding
from llama_index.core.callbacks.base import CallbackManager
from llama_index.core.constants import DEFAULT_SIMILARITY_TOP_K
from llama_index.core.schema import NodeWithScore, QueryBundle
from llama_index.core.vector_stores.types import MetadataFilters

from t1_vectorstore.embedding.thinking import merge_options
from t1_vectorstore.llama_index.embedding import T1Embedding, mean_direction
from t1_vectorstore.llama_index.events import dispatch_thought
from t1_vectorstore.llama_index.filters import to_filter
from t1_vectorstore.llama_index.nodes import to_node
from t1_vectorstore.llama_index.vectorstore import T1QdrantVectorStore
from t1_vectorstore.options import QueryOptions, RankingOptions, set_options
from t1_vectorstore.types import FilterLike, Hit, SearchResult, Thought, Timings
from t1_vectorstore.vectorstore import T1VectorStore

THOUGHT_KEY = "t1_thought"
"""Where a node's metadata holds the thought by which it was found, if that was asked for."""


class T1Retriever(BaseRetriever):
    """Retrieves nodes by T1's thought about a query. Each thought is dispatched as a ``T1ThoughtEvent``.

    Attributes:
        similarity_top_k: Maximum number of nodes.
        filters: Condition on their metadata: ``MetadataFilters``, or a filter of this package.
        options: The other search options.
        thinking: How queries are thought about: the retriever's options, then the model's.
        thought_in_metadata: Whether each node carries the thought, hidden from LLMs and embedding models.
    """

    def __init__(
        self,
        vector_store: T1QdrantVectorStore,
        embed_model: T1Embedding,
        *,
        similarity_top_k: int = DEFAULT_SIMILARITY_TOP_K,
        filters: MetadataFilters | FilterLike | None = None,
        thought_in_metadata: bool = False,
        callback_manager: CallbackManager | None = None,
        object_map: dict[str, Any] | None = None,
        verbose: bool = False,
        **options: Any,  # noqa: ANN401 - checked below
    ) -> None:
        """Combine a store and a model.

        Args:
            vector_store: The store with the nodes.
            embed_model: The model whose vectors the store holds.
            similarity_top_k: Maximum number of nodes.
            filters: LlamaIndex's ``MetadataFilters``, or a filter of this package.
            thought_in_metadata: Add the thought to each node's metadata, where no prompt shows it.
            callback_manager: LlamaIndex's.
            object_map: LlamaIndex's, for index nodes that lead to other retrievers.
            verbose: LlamaIndex's.
            options: The fields of :class:`~t1_vectorstore.options.QueryOptions` except ``filter``. Thinking options that
                are not set are the model's.

        Raises:
            TypeError: An unknown option, or a value of the wrong type.
            ValueError: A value that an option does not accept.
        """
        super().__init__(callback_manager=callback_manager, object_map=object_map, verbose=verbose)
        if not isinstance(embed_model, T1Embedding):
            raise TypeError(f"embed_model is a T1Embedding, got {type(embed_model).__name__}")
        if "filter" in options:
            raise TypeError("unknown option 'filter'; LlamaIndex calls it 'filters'")
        self.similarity_top_k = similarity_top_k
        self.filters = filters
        self.options = QueryOptions.check(**options)
        self.thinking = merge_options(self.options, embed_model)
        self.thought_in_metadata = thought_in_metadata
        self._vector_store = vector_store
        self._embed_model = embed_model
        vector_store.client.check_search(**self._ranking(), text="any" if self._by_words() else None)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        store = self._store()
        text = _single_text(query_bundle)
        if text is not None:
            return self._nodes(store.search(text, **self._search_options()))
        embedded = self._embed(store, query_bundle)
        started = time.perf_counter()
        hits = store.collection.search(embedded.vector, text=embedded.words, **self._ranking())
        return self._nodes(embedded.result(query_bundle.query_str, hits, time.perf_counter() - started))

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        store = await asyncio.to_thread(self._store)  # loads the model if it is not loaded yet
        text = _single_text(query_bundle)
        if text is not None:
            return self._nodes(await store.asearch(text, **self._search_options()))
        embedded = await asyncio.to_thread(self._embed, store, query_bundle)
        started = time.perf_counter()
        hits = await store.collection.asearch(embedded.vector, text=embedded.words, **self._ranking())
        return self._nodes(embedded.result(query_bundle.query_str, hits, time.perf_counter() - started))

    def _store(self) -> T1VectorStore:
        return T1VectorStore(self._embed_model.embedder, self._vector_store.client)

    def _by_words(self) -> bool:
        return self._vector_store.client.hybrid if self.options.hybrid is None else self.options.hybrid

    def _ranking(self) -> dict[str, Any]:
        given = set_options(self.options, RankingOptions)
        return {**given, "limit": self.similarity_top_k, "filter": to_filter(self.filters)}

    def _search_options(self) -> dict[str, Any]:
        return {**set_options(self.options, QueryOptions), **dict(self.thinking), **self._ranking()}

    def _embed(self, store: T1VectorStore, bundle: QueryBundle) -> _Embedded:
        """What to search with for a bundle that is not just a text. The bundle stays as it is."""
        texts, thoughts = bundle.embedding_strs, list[Thought]()
        vector, seconds = bundle.embedding, 0.0
        if vector is None:
            embeddings = store.embedder.embed_queries(texts, **dict(self.thinking))
            vector = mean_direction([embedding.vector.tolist() for embedding in embeddings])
            thoughts = [thought for embedding in embeddings for thought in embedding.thoughts]
            seconds = embeddings[0].seconds
        words = "\n".join([*texts, *(thought.text for thought in thoughts)]) if self._by_words() else None
        return _Embedded(vector, words, thoughts, seconds)

    def _nodes(self, result: SearchResult) -> list[NodeWithScore]:
        dispatch_thought(result.query, result.thoughts, result.timings.embed)
        found = [NodeWithScore(node=to_node(hit), score=hit.score) for hit in result.hits]
        if self.thought_in_metadata and result.thoughts:
            text = "\n".join(thought.text for thought in result.thoughts)
            for node in (scored.node for scored in found):
                node.metadata[THOUGHT_KEY] = text
                node.excluded_llm_metadata_keys.append(THOUGHT_KEY)
                node.excluded_embed_metadata_keys.append(THOUGHT_KEY)
        return found


@dataclass(frozen=True, slots=True)
class _Embedded:
    """A vector to search with, the words to search by, and the thoughts behind them."""

    vector: Embedding
    words: str | None
    thoughts: Sequence[Thought]
    seconds: float

    def result(self, query: str, hits: Sequence[Hit], seconds: float) -> SearchResult:
        return SearchResult(query, hits, self.thoughts, Timings(self.seconds, seconds))


def _single_text(bundle: QueryBundle) -> str | None:
    """The one text that a bundle asks for, if it has no vector and no several phrasings."""
    texts = bundle.embedding_strs or [bundle.query_str]
    return texts[0] if bundle.embedding is None and len(texts) == 1 else None
