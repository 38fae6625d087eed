"""``T1Retriever``: think about a query, search, and tell the thought."""

from __future__ import annotations

import asyncio
from typing import Any, TypedDict

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks.base import CallbackManager
from llama_index.core.constants import DEFAULT_SIMILARITY_TOP_K
from llama_index.core.schema import NodeWithScore, QueryBundle
from llama_index.core.vector_stores.types import MetadataFilters

from t1_vectorstore.filters import FilterLike
from t1_vectorstore.llama_index.embedding import T1Embedding, ThinkingOptions, mean_direction
from t1_vectorstore.llama_index.events import tell
from t1_vectorstore.llama_index.filters import to_filter
from t1_vectorstore.llama_index.nodes import to_node
from t1_vectorstore.llama_index.vectorstore import T1QdrantVectorStore
from t1_vectorstore.types import Hit, Thought
from t1_vectorstore.vectorstore import T1VectorStore


class Finding(TypedDict):
    """What a retriever looks for with a vector, as ``Collection.search`` takes it."""

    limit: int
    filter: FilterLike | None
    score_threshold: float | None
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
        diversity: float | None = None,
        candidates: int | None = None,
        group: bool = False,
        think: bool | None = None,
        budget: int | None = None,
        deadline: float | None = None,
        task: str | None = None,
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
            diversity: choose nodes that are also unlike each other: 0 is relevance only, 1 is difference only.
            candidates: how many the vector, and the words, contribute to a fusion or to a choice.
            group: of each document only its best node.
            think: on or off.
            budget: most tokens of the thought.
            deadline: seconds after which the thought is closed as it stands.
            task: one of the checkpoint's task instructions.
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
        self.diversity = diversity
        self.candidates = candidates
        self.group = group
        self.thought_in_metadata = thought_in_metadata
        self.thinking = _merged({"think": think, "budget": budget, "deadline": deadline, "task": task}, embed_model)
        self._vector_store = vector_store
        self._embed_model = embed_model
        vector_store.client.check_search(**self._finding(), text="any" if hybrid else None)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self._told(query_bundle, *self._search(query_bundle))

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self._told(query_bundle, *await asyncio.to_thread(self._search, query_bundle))

    def _finding(self) -> Finding:
        return {
            "limit": self.similarity_top_k,
            "filter": to_filter(self.filters),
            "score_threshold": self.score_threshold,
            "diversity": self.diversity,
            "candidates": self.candidates,
            "group": self.group,
        }

    def _search(self, bundle: QueryBundle) -> tuple[list[Hit], list[Thought], float]:
        """Hits, the thoughts behind them, and the seconds that thinking took. The bundle stays as it is."""
        store = T1VectorStore(self._embed_model.embedder, self._vector_store.client)
        texts = bundle.embedding_strs or [bundle.query_str]
        if bundle.embedding is None and len(texts) == 1:
            result = store.search(texts[0], hybrid=self.hybrid, **self.thinking, **self._finding())
            return list(result.hits), list(result.thoughts), result.timings.embed
        direction, thoughts, seconds = bundle.embedding, list[Thought](), 0.0
        if direction is None:
            embeddings = store.embedder.embed_queries(texts, **self.thinking)
            direction = mean_direction([embedding.vector.tolist() for embedding in embeddings])
            thoughts = [thought for embedding in embeddings for thought in embedding.thoughts]
            seconds = embeddings[0].seconds
        hybrid = store.collection.hybrid if self.hybrid is None else self.hybrid
        words = "\n".join([*texts, *(thought.text for thought in thoughts)]) if hybrid else None
        return store.collection.search(direction, text=words, **self._finding()), thoughts, seconds

    def _told(
        self, bundle: QueryBundle, hits: list[Hit], thoughts: list[Thought], seconds: float
    ) -> list[NodeWithScore]:
        tell(bundle.query_str, thoughts, seconds)
        found = [NodeWithScore(node=to_node(hit), score=hit.score) for hit in hits]
        if self.thought_in_metadata and thoughts:
            text = "\n".join(thought.text for thought in thoughts)
            for node in (scored.node for scored in found):
                node.metadata[THOUGHT_KEY] = text
                node.excluded_llm_metadata_keys.append(THOUGHT_KEY)
                node.excluded_embed_metadata_keys.append(THOUGHT_KEY)
        return found


def _merged(given: ThinkingOptions, embed_model: T1Embedding) -> ThinkingOptions:
    """The options given, else the model's; turning thinking off drops the model's limits for thoughts."""
    own = embed_model.thinking
    if given["think"] is False:
        own = {**own, "budget": None, "deadline": None}
    return {
        "think": own["think"] if given["think"] is None else given["think"],
        "budget": own["budget"] if given["budget"] is None else given["budget"],
        "deadline": own["deadline"] if given["deadline"] is None else given["deadline"],
        "task": own["task"] if given["task"] is None else given["task"],
    }
