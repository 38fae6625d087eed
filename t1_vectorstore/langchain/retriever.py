"""``T1Retriever``: a retriever whose thought can be watched."""

from __future__ import annotations

from typing import Any

from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForRetrieverRun,
    adispatch_custom_event,
    dispatch_custom_event,
)
from langchain_core.documents import Document
from langchain_core.retrievers import LangSmithRetrieverParams
from langchain_core.vectorstores import VectorStoreRetriever
from pydantic import ConfigDict, Field, model_validator
from typing_extensions import Self

from t1_vectorstore.langchain.searching import T1Searches, marginal, to_document
from t1_vectorstore.specification import MOST_REFINE_STEPS, Aggregation
from t1_vectorstore.thinking import ThinkingOptions, settled
from t1_vectorstore.types import SearchResult

THOUGHT_EVENT = "t1_thought"
"""Name of the custom event that each run with a thought sends to callbacks and to ``astream_events``."""

_FINDING = ("k", "filter", "score_threshold", "hybrid", "vector_weight", "diversity", "candidates", "group")
_OPTIONS = (*_FINDING, *ThinkingOptions.__annotations__)


class T1Retriever(VectorStoreRetriever):
    """Retrieves by thought: what ``T1QdrantVectorStore.as_retriever()`` returns, also to be made directly.

    Whatever is set here can be given to each ``invoke``, too: ``retriever.invoke(query, k=3, think=False)``.

    Each run that thought sends one custom event ``t1_thought`` with the query, its thoughts and the seconds they took:

        async for event in chain.astream_events(question):
            if event["event"] == "on_custom_event" and event["name"] == THOUGHT_EVENT:
                print(event["data"]["thoughts"][0]["text"])
    """

    model_config = ConfigDict(extra="forbid")

    vectorstore: T1Searches
    """Where to search."""
    k: int = Field(default=4, ge=1)
    """How many documents at most."""
    filter: Any = None
    """What the metadata must satisfy: a dict, or Qdrant's ``Filter``."""
    score_threshold: float | None = Field(default=None, ge=-1, le=1)
    """The lowest cosine similarity to return."""
    hybrid: bool | None = None
    """Search by words as well as by the vector; ``None``: if the collection can."""
    vector_weight: float | None = Field(default=None, ge=0, le=1)
    """The vector's share where words count as well, from 0 (words only) to 1 (vector only); ``None``: the same."""
    diversity: float | None = Field(default=None, ge=0, le=1)
    """Choose documents that are also unlike each other: 0 is relevance only, 1 is difference only."""
    candidates: int | None = Field(default=None, ge=1)
    """How many the vector, and the words, contribute to a fusion or to a choice."""
    group: bool = False
    """Of each document that was cut into chunks by this package only the best chunk."""
    think: bool | None = None
    """On, off, or ``None`` for what the store's embeddings say."""
    budget: int | None = Field(default=None, ge=0)
    """Most tokens of the thought."""
    deadline: float | None = Field(default=None, gt=0)
    """Seconds after which the thought is closed as it stands."""
    samples: int | None = Field(default=None, ge=1)
    """How many thoughts about a query, if they are sampled; the vector is the mean of theirs."""
    task: str | None = None
    """One of the checkpoint's task instructions."""
    refine_steps: int | None = Field(default=None, ge=0, le=MOST_REFINE_STEPS, strict=True)
    """Passes in hidden space after the thought; see ``T1Embedder.embed_queries``."""
    refine: Aggregation | None = None
    """How their states become the vector, ``mean`` or ``last``."""
    annotate: bool = False
    """Put score and thoughts into each document's metadata, under ``t1``. A prompt that prints metadata shows them."""

    @model_validator(mode="after")
    def _tag(self) -> Self:
        """Runs are tagged with the names of store and embeddings, as ``as_retriever`` does it."""
        if self.tags is None:
            self.tags = self.vectorstore._get_retriever_tags()
        return self

    def _get_ls_params(self, **kwargs: Any) -> LangSmithRetrieverParams:  # noqa: ANN401 - LangChain's signature
        params = super()._get_ls_params(**kwargs)
        params["ls_embedding_model"] = self.vectorstore.t1.embedder.identity.model
        return params

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        **options: Any,  # noqa: ANN401 - checked by `find`
    ) -> list[Document]:
        result = self.vectorstore.find(query, **self._options(options))
        if result.thoughts:
            dispatch_custom_event(THOUGHT_EVENT, _told(result), config={"callbacks": run_manager.get_child()})
        return self._documents(result)

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,
        **options: Any,  # noqa: ANN401 - checked by `find`
    ) -> list[Document]:
        result = await self.vectorstore.afind(query, **self._options(options))
        if result.thoughts:
            await adispatch_custom_event(THOUGHT_EVENT, _told(result), config={"callbacks": run_manager.get_child()})
        return self._documents(result)

    def _options(self, given: dict[str, Any]) -> dict[str, Any]:
        """What this run searches with: the call's own options, then ``search_kwargs``, then the fields."""
        fields = {name: getattr(self, name) for name in _OPTIONS}
        options = {**fields, **self.search_kwargs, **given, **settled(given, self.search_kwargs, fields)}
        if self.search_type == "mmr":
            options |= marginal(options.pop("fetch_k", 20), options.pop("lambda_mult", 0.5))
        return options

    def _documents(self, result: SearchResult) -> list[Document]:
        documents = [to_document(hit) for hit in result.hits]
        if self.annotate:
            for document, hit in zip(documents, result.hits, strict=True):
                document.metadata["t1"] = {"score": hit.score, "thoughts": _told(result)["thoughts"]}
        return documents


def _told(result: SearchResult) -> dict[str, Any]:
    """The event's data, in plain JSON types, since tracers send it on."""
    return {
        "query": result.query,
        "thoughts": [{"text": each.text, "tokens": each.tokens, "stop": each.stop} for each in result.thoughts],
        "seconds": result.timings.embed,
    }
