"""``T1Retriever``: a LangChain retriever that reports its thoughts."""

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

from t1_vectorstore.embedding.thinking import merge_options
from t1_vectorstore.keyword_options import Flag, Integer, set_options
from t1_vectorstore.langchain.searching import MmrOptions, T1Searches
from t1_vectorstore.options import MAX_COUNT, QueryOptions, ThinkingOptions
from t1_vectorstore.types import SearchResult

THOUGHT_EVENT = "t1_thought"
"""Name of the custom event that each run with a thought sends to callbacks and to ``astream_events``."""


class T1Retriever(QueryOptions, VectorStoreRetriever):
    """The retriever that ``T1QdrantVectorStore.as_retriever()`` returns. It can also be created directly.

    The fields are ``k`` and those of ``QueryOptions``. Each of them can also be given to
    a single call: ``retriever.invoke(query, k=3, think=False)``.

    Each run with a thought sends one custom event ``t1_thought`` with the query, its thoughts and their seconds:

        async for event in chain.astream_events(question):
            if event["event"] == "on_custom_event" and event["name"] == THOUGHT_EVENT:
                print(event["data"]["thoughts"][0]["text"])
    """

    model_config = ConfigDict(frozen=False, extra="forbid")

    vectorstore: T1Searches
    """The store to search."""
    k: Integer = Field(default=4, ge=1, le=MAX_COUNT)
    """Maximum number of documents."""
    annotate: Flag = False
    """Add score and thoughts to each document's metadata, under ``t1``; in a store with ``chunk``, also the passage
    that was found, and its offsets in the document. A prompt that prints metadata shows them."""

    @model_validator(mode="after")
    def _set_tags(self) -> Self:
        """Tag runs with the names of store and embeddings, as ``as_retriever`` does."""
        if self.tags is None:
            self.tags = self.vectorstore._get_retriever_tags()
        return self

    def _get_ls_params(self, **kwargs: Any) -> LangSmithRetrieverParams:
        params = super()._get_ls_params(**kwargs)
        params["ls_embedding_model"] = self.vectorstore.t1.embedder.identity.model
        return params

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        result = self.vectorstore.find(query, **self._options(options))
        if result.thoughts:
            dispatch_custom_event(THOUGHT_EVENT, _event_data(result), config={"callbacks": run_manager.get_child()})
        return self._annotated(self.vectorstore.to_documents(result.hits), result)

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        result = await self.vectorstore.afind(query, **self._options(options))
        if result.thoughts:
            await adispatch_custom_event(
                THOUGHT_EVENT, _event_data(result), config={"callbacks": run_manager.get_child()}
            )
        return self._annotated(await self.vectorstore.ato_documents(result.hits), result)

    def _options(self, given: dict[str, Any]) -> dict[str, Any]:
        """Merge the options of a run: those of the call, then ``search_kwargs``, then the fields."""
        levels = [ThinkingOptions(**_thinking(options)) for options in (given, self.search_kwargs)]
        thinking = dict(merge_options(*levels, self))
        fields = {"k": self.k, **set_options(self, QueryOptions)}
        options = {**fields, **self.search_kwargs, **given, **thinking}
        if self.search_type == "mmr":
            mmr = {name: options.pop(name) for name in MmrOptions.model_fields if name in options}
            options |= MmrOptions(**mmr).to_search_options()
        return options

    def _annotated(self, documents: list[Document], result: SearchResult) -> list[Document]:
        if self.annotate:
            for document, hit in zip(documents, result.hits, strict=True):
                found: dict[str, Any] = {"score": hit.score, "thoughts": _event_data(result)["thoughts"]}
                if self.vectorstore.chunks:
                    found |= {"passage": hit.text, "start": hit.start, "end": hit.end}
                document.metadata["t1"] = found
        return documents


def _thinking(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name in ThinkingOptions.model_fields}


def _event_data(result: SearchResult) -> dict[str, Any]:
    """Return the event's data as plain JSON types, since tracers send it on."""
    return {
        "query": result.query,
        "thoughts": [{"text": each.text, "tokens": each.tokens, "stop": each.stop} for each in result.thoughts],
        "seconds": result.timings.embed,
    }
