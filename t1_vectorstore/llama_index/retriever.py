"""``T1Retriever``: a LlamaIndex retriever that reports its thoughts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.constants import DEFAULT_SIMILARITY_TOP_K
from llama_index.core.schema import BaseNode, NodeWithScore, QueryBundle
from pydantic import Field

from t1_vectorstore.embedding.thinking import merge_options
from t1_vectorstore.keyword_options import Flag, Integer, takes_options
from t1_vectorstore.llama_index.embedding import T1Embedding, mean_direction
from t1_vectorstore.llama_index.events import dispatch_thought
from t1_vectorstore.llama_index.filters import to_filter
from t1_vectorstore.llama_index.nodes import add_hidden
from t1_vectorstore.llama_index.queries import PassageOptions
from t1_vectorstore.llama_index.vectorstore import T1QdrantVectorStore
from t1_vectorstore.options import MAX_COUNT, QueryOptions, RankingOptions
from t1_vectorstore.types import Hit, QueryEmbedding, Thought
from t1_vectorstore.vectorstore import T1VectorStore

THOUGHT_KEY = "t1_thought"
"""Metadata key of the thought, if ``thought_in_metadata`` is set."""


class RetrieverOptions(PassageOptions, QueryOptions):
    """The options of a retriever: those of a query, two of them under LlamaIndex's names, and LlamaIndex's own."""

    limit: Integer = Field(default=DEFAULT_SIMILARITY_TOP_K, ge=1, le=MAX_COUNT, alias="similarity_top_k")
    """Maximum number of nodes."""
    filter: Any = Field(default=None, alias="filters")
    """Condition on their metadata: LlamaIndex's ``MetadataFilters``, or a filter of this package."""
    thought_in_metadata: Flag = False
    """Add the thought to each node's metadata, where no prompt shows it."""
    callback_manager: Any = None
    """LlamaIndex's ``CallbackManager``."""
    object_map: dict[str, Any] | None = None
    """LlamaIndex's: objects, such as other retrievers, to which index nodes lead."""
    verbose: Flag = False
    """LlamaIndex's: print what is retrieved."""


class T1Retriever(BaseRetriever):
    """Retrieves nodes by T1's thought about a query. Each thought is dispatched as a ``T1ThoughtEvent``.

    The other options of ``QueryOptions``, such as ``hybrid``, are attributes as well. All
    attributes can be changed later.

    Attributes:
        similarity_top_k: Maximum number of nodes.
        filters: Condition on their metadata: ``MetadataFilters``, or a filter of this package.
        thinking: How queries are thought about: the retriever's options, then the model's.
        passage_in_metadata: Whether each node carries the passage that was found, as ``t1_passage``.
        thought_in_metadata: Whether each node carries the thought, hidden from LLMs and embedding models.
    """

    @takes_options(RetrieverOptions)
    def __init__(self, vector_store: T1QdrantVectorStore, embed_model: T1Embedding, options: RetrieverOptions) -> None:
        """Combine a store and a model.

        Args:
            vector_store: The store with the nodes.
            embed_model: The model whose vectors the store holds.
            options: Keyword arguments, the fields of ``RetrieverOptions``. Thinking options that are not set are
                the model's.

        Raises:
            TypeError: An unknown option, or a value of the wrong type.
            ValueError: A value that an option does not accept.
        """
        super().__init__(options.callback_manager, object_map=options.object_map, verbose=options.verbose)
        if not isinstance(embed_model, T1Embedding):
            raise TypeError(f"embed_model must be a T1Embedding, got {type(embed_model).__name__}")
        self.similarity_top_k = options.limit
        self.filters = options.filter
        self.score_threshold = options.score_threshold
        self.fusion = options.fusion
        self.vector_weight = options.vector_weight
        self.diversity = options.diversity
        self.candidates = options.candidates
        self.search_params = options.search_params
        self.consistency = options.consistency
        self.group = options.group
        self.hybrid = options.hybrid
        self.thought_terms = options.thought_terms
        self.combine = options.combine
        self.explain = options.explain
        self.truncation = options.truncation
        self.thinking = merge_options(options, embed_model)
        self.thought_in_metadata = options.thought_in_metadata
        self.passage_in_metadata = options.passage_in_metadata
        self._vector_store = vector_store
        self._embed_model = embed_model
        vector_store.collection.check_search(**self._options(RankingOptions), text="any" if self._by_words() else None)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        store = self._store()
        text = _single_text(query_bundle)
        if text is not None:
            result = store.search(text, **self._search_options())
            nodes = self._vector_store.to_nodes(result.hits, passages=self.passage_in_metadata)
            return self._scored(nodes, result.hits, result.query, result.thoughts, result.timings.embed)
        embedding = self._embed(store, query_bundle)
        hits = store.collection.search(embedding.vector, **self._vector_options(query_bundle, embedding))
        nodes = self._vector_store.to_nodes(hits, passages=self.passage_in_metadata)
        return self._scored(nodes, hits, embedding.query, embedding.thoughts, embedding.seconds)

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        store = await asyncio.to_thread(self._store)  # loads the model if it is not loaded yet
        text = _single_text(query_bundle)
        if text is not None:
            result = await store.asearch(text, **self._search_options())
            nodes = await self._vector_store.ato_nodes(result.hits, passages=self.passage_in_metadata)
            return self._scored(nodes, result.hits, result.query, result.thoughts, result.timings.embed)
        embedding = await asyncio.to_thread(self._embed, store, query_bundle)
        hits = await store.collection.asearch(embedding.vector, **self._vector_options(query_bundle, embedding))
        nodes = await self._vector_store.ato_nodes(hits, passages=self.passage_in_metadata)
        return self._scored(nodes, hits, embedding.query, embedding.thoughts, embedding.seconds)

    def _store(self) -> T1VectorStore:
        return self._vector_store.searched_with(self._embed_model.embedder)

    def _by_words(self) -> bool:
        return self._vector_store.collection.hybrid if self.hybrid is None else self.hybrid

    def _options(self, kind: type[QueryOptions | RankingOptions]) -> dict[str, Any]:
        """Return the attributes that are options of ``kind``, under this package's names."""
        options = {name: value for name, value in vars(self).items() if name in kind.model_fields}
        options |= {"limit": self.similarity_top_k, "filter": to_filter(self.filters)}
        return self._vector_store.grouped(options)

    def _search_options(self) -> dict[str, Any]:
        return {**self._options(QueryOptions), **dict(self.thinking)}

    def _vector_options(self, bundle: QueryBundle, embedding: QueryEmbedding) -> dict[str, Any]:
        thoughts = [thought.text for thought in embedding.thoughts] if self.thought_terms else []
        text = "\n".join([*bundle.embedding_strs, *thoughts]) if self._by_words() else None
        return {**self._options(RankingOptions), "text": text}

    def _embed(self, store: T1VectorStore, bundle: QueryBundle) -> QueryEmbedding:
        """Embed a bundle that has a vector or several phrasings. The bundle is not changed."""
        if self.explain:
            raise ValueError("explain=True explains the search for one text; this query has a vector or several texts")
        if bundle.embedding is not None:
            return QueryEmbedding(bundle.query_str, np.asarray(bundle.embedding), (), 0.0)
        options = {**dict(self.thinking), "truncation": self.truncation}
        embeddings = store.embedder.embed_queries(bundle.embedding_strs, **options)
        mean = mean_direction([embedding.vector.tolist() for embedding in embeddings])
        thoughts = [thought for embedding in embeddings for thought in embedding.thoughts]
        return QueryEmbedding(bundle.query_str, np.asarray(mean), thoughts, embeddings[0].seconds)

    def _scored(
        self, nodes: Sequence[BaseNode], hits: Sequence[Hit], query: str, thoughts: Sequence[Thought], seconds: float
    ) -> list[NodeWithScore]:
        """Return the nodes of some hits with their scores, and dispatch the thoughts."""
        dispatch_thought(query, thoughts, seconds)
        found = [NodeWithScore(node=node, score=hit.score) for node, hit in zip(nodes, hits, strict=True)]
        if self.thought_in_metadata and thoughts:
            text = "\n".join(thought.text for thought in thoughts)
            for node in (scored.node for scored in found):
                add_hidden(node, THOUGHT_KEY, text)
        return found


def _single_text(bundle: QueryBundle) -> str | None:
    """Return the text of a bundle that has neither a vector nor several phrasings."""
    texts = bundle.embedding_strs or [bundle.query_str]
    return texts[0] if bundle.embedding is None and len(texts) == 1 else None
