"""``T1Retriever``: think about a query, search, and tell the thought."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.embeddings.base import Embedding
from llama_index.core.callbacks.base import CallbackManager
from llama_index.core.constants import DEFAULT_SIMILARITY_TOP_K
from llama_index.core.schema import NodeWithScore, QueryBundle
from llama_index.core.vector_stores.types import MetadataFilters

from t1_vectorstore.filters import FilterLike
from t1_vectorstore.llama_index.embedding import T1Embedding, mean_direction
from t1_vectorstore.llama_index.events import tell
from t1_vectorstore.llama_index.filters import to_filter
from t1_vectorstore.llama_index.nodes import to_node
from t1_vectorstore.llama_index.vectorstore import T1QdrantVectorStore
from t1_vectorstore.specification import Aggregation
from t1_vectorstore.thinking import settled
from t1_vectorstore.types import Hit, SearchResult, Thought, Timings
from t1_vectorstore.vectorstore import T1VectorStore


class Finding(TypedDict):
    """What a retriever looks for with a vector, as ``Collection.search`` takes it."""

    limit: int
    filter: FilterLike | None
    score_threshold: float | None
    vector_weight: float | None
    diversity: float | None
    candidates: int | None
    group: bool


THOUGHT_KEY = "t1_thought"
"""Where a node's metadata holds the thought by which it was found, if that was asked for."""


class T1Retriever(BaseRetriever):
    """Nodes for a query by T1's thought about it. Each thought is dispatched as a ``T1ThoughtEvent``.

    Attributes:
        similarity_top_k: how many nodes at most.
        filters: what their metadata must satisfy.
        score_threshold: the lowest cosine similarity to return.
        hybrid: whether words are looked for as well; ``None``: if the collection can.
        vector_weight: the vector's share where words count as well, from 0 to 1.
        diversity: how much the nodes are chosen to be unlike each other, from 0 to 1.
        candidates: how many the vector, and the words, contribute to a fusion or to a choice.
        group: whether each document gives only its best node.
        thought_in_metadata: whether each node carries the thought, hidden from LLMs and embedding models.
        thinking: how queries are thought about.
    """

    def __init__(
        self,
        vector_store: T1QdrantVectorStore,
        embed_model: T1Embedding,
        *,
        similarity_top_k: int = DEFAULT_SIMILARITY_TOP_K,
        filters: MetadataFilters | FilterLike | None = None,
        score_threshold: float | None = None,
        hybrid: bool | None = None,
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
        thought_in_metadata: bool = False,
        callback_manager: CallbackManager | None = None,
        object_map: dict[str, Any] | None = None,
        verbose: bool = False,
    ) -> None:
        """Join a store and a model; thinking options that are ``None`` are the model's.

        Args:
            vector_store: where the nodes are.
            embed_model: thinks about queries; the model whose vectors the store holds.
            similarity_top_k: how many nodes at most.
            filters: the framework's ``MetadataFilters``, or a filter of this package.
            score_threshold: the lowest cosine similarity to return.
            hybrid: look for the words of the query and its thought as well. ``None``: if the collection can.
            vector_weight: the vector's share where words count as well, from 0 (words only) to 1 (vector only).
                ``None``: both count the same.
            diversity: choose nodes that are also unlike each other: 0 is relevance only, 1 is difference only.
            candidates: how many the vector, and the words, contribute to a fusion or to a choice.
            group: of each document only its best node.
            think: on or off.
            budget: most tokens of the thought.
            deadline: seconds after which the thought is closed as it stands.
            samples: how many thoughts, if they are sampled; the vector is the mean of theirs.
            task: one of the checkpoint's task instructions.
            refine_steps: passes in hidden space after the thought; see ``T1Embedder.embed_queries``.
            refine: how their states become the vector, ``mean`` or ``last``.
            thought_in_metadata: put the thought into each node's metadata, where no prompt shows it.
            callback_manager: the framework's.
            object_map: the framework's, for index nodes that lead to other retrievers.
            verbose: the framework's.

        Raises:
            ValueError: a number or the filter cannot be used.
        """
        super().__init__(callback_manager=callback_manager, object_map=object_map, verbose=verbose)
        self.similarity_top_k = similarity_top_k
        self.filters = filters
        self.score_threshold = score_threshold
        self.hybrid = hybrid
        self.vector_weight = vector_weight
        self.diversity = diversity
        self.candidates = candidates
        self.group = group
        self.thought_in_metadata = thought_in_metadata
        if not isinstance(embed_model, T1Embedding):
            raise TypeError(f"embed_model is a T1Embedding, got {type(embed_model).__name__}")
        thinking = {"think": think, "budget": budget, "deadline": deadline, "samples": samples, "task": task}
        self.thinking = settled({**thinking, "refine_steps": refine_steps, "refine": refine}, embed_model.thinking)
        self._vector_store = vector_store
        self._embed_model = embed_model
        vector_store.client.check_search(**self._finding(), text="any" if self._by_words() else None)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        store = self._store()
        text = _single_text(query_bundle)
        if text is not None:
            return self._told(store.search(text, hybrid=self.hybrid, **self.thinking, **self._finding()))
        embedded = self._embed(store, query_bundle)
        started = time.perf_counter()
        hits = store.collection.search(embedded.vector, text=embedded.words, **self._finding())
        return self._told(embedded.answer(query_bundle.query_str, hits, time.perf_counter() - started))

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        store = await asyncio.to_thread(self._store)  # loads the model, if nobody has yet
        text = _single_text(query_bundle)
        if text is not None:
            return self._told(await store.asearch(text, hybrid=self.hybrid, **self.thinking, **self._finding()))
        embedded = await asyncio.to_thread(self._embed, store, query_bundle)
        started = time.perf_counter()
        hits = await store.collection.asearch(embedded.vector, text=embedded.words, **self._finding())
        return self._told(embedded.answer(query_bundle.query_str, hits, time.perf_counter() - started))

    def _store(self) -> T1VectorStore:
        return T1VectorStore(self._embed_model.embedder, self._vector_store.client)

    def _by_words(self) -> bool:
        return self._vector_store.client.hybrid if self.hybrid is None else self.hybrid

    def _finding(self) -> Finding:
        return {
            "limit": self.similarity_top_k,
            "filter": to_filter(self.filters),
            "score_threshold": self.score_threshold,
            "vector_weight": self.vector_weight,
            "diversity": self.diversity,
            "candidates": self.candidates,
            "group": self.group,
        }

    def _embed(self, store: T1VectorStore, bundle: QueryBundle) -> _Embedded:
        """What to search with for a bundle that is not just a text. The bundle stays as it is."""
        texts, thoughts = bundle.embedding_strs, list[Thought]()
        vector, seconds = bundle.embedding, 0.0
        if vector is None:
            embeddings = store.embedder.embed_queries(texts, **self.thinking)
            vector = mean_direction([embedding.vector.tolist() for embedding in embeddings])
            thoughts = [thought for embedding in embeddings for thought in embedding.thoughts]
            seconds = embeddings[0].seconds
        words = "\n".join([*texts, *(thought.text for thought in thoughts)]) if self._by_words() else None
        return _Embedded(vector, words, thoughts, seconds)

    def _told(self, result: SearchResult) -> list[NodeWithScore]:
        tell(result.query, result.thoughts, result.timings.embed)
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

    def answer(self, query: str, hits: Sequence[Hit], seconds: float) -> SearchResult:
        return SearchResult(query, hits, self.thoughts, Timings(self.seconds, seconds))


def _single_text(bundle: QueryBundle) -> str | None:
    """The one text that a bundle asks for, if it has no vector and no several phrasings."""
    texts = bundle.embedding_strs or [bundle.query_str]
    return texts[0] if bundle.embedding is None and len(texts) == 1 else None
