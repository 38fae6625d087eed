"""``T1Retriever``: options, events with thoughts, tags and tracing."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField, RunnableLambda, RunnablePassthrough

from t1_vectorstore import T1Embedder
from t1_vectorstore.langchain import THOUGHT_EVENT, T1Embeddings, T1QdrantVectorStore, T1Retriever
from tests.langchain_adapter.conftest import DOCUMENTS

THOUGHT = {"text": "latipac", "tokens": 7, "stop": "emb_token"}


@pytest.fixture
def embeddings() -> T1Embeddings:
    """The fake model; it thinks by default."""
    return T1Embeddings.from_embedder(T1Embedder.fake())


class Watcher(BaseCallbackHandler):
    """Records the events that a tracer receives."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any, Any]] = []
        self.started: list[dict[str, Any]] = []
        self.runs: list[Any] = []

    def on_custom_event(self, name: str, data: Any, *, run_id: Any, **_: Any) -> None:
        self.events.append((name, data, run_id))

    def on_retriever_start(self, serialized: Any, query: str, *, run_id: Any, **details: Any) -> None:
        self.runs.append(run_id)
        self.started.append(details)


def test_options_at_construction_and_per_call(store: T1QdrantVectorStore) -> None:
    retriever = T1Retriever(vectorstore=store, k=1, filter={"country": "France"}, think=False)
    assert [each.id for each in retriever.invoke("capital of France")] == ["france"]
    assert [each.id for each in retriever.invoke("capital of Norway", filter=None)] == ["norway"]
    assert len(retriever.invoke("capital", k=2)) == 2
    assert retriever.invoke("capital", score_threshold=1.0) == []
    assert len(store.as_retriever(search_kwargs={"k": 2}).invoke("capital")) == 2
    assert len(store.as_retriever(k=1).invoke("capital")) == 1


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"k": 0}, ValueError, "k must be greater than or equal to 1, got 0"),
        ({"k": "3"}, TypeError, "k must be a valid integer, got '3'"),
        ({"budget": -1}, ValueError, "budget must be greater than or equal to 0, got -1"),
        ({"score_threshold": 2}, ValueError, "score_threshold must be less than or equal to 1, got 2"),
        ({"deadline": 0}, ValueError, "deadline must be greater than 0, got 0"),
        ({"kk": 3}, TypeError, r"unknown option 'kk'; did you mean 'k'\? The options are .*k, .*think"),
        ({"limit": 3}, TypeError, "unknown option 'limit'"),
    ],
)
def test_options_are_checked_in_fields_and_calls(
    store: T1QdrantVectorStore, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        T1Retriever(vectorstore=store, **options)
    with pytest.raises(error, match=message):
        store.as_retriever(**options)
    for retriever, call in ((store.as_retriever(), options), (store.as_retriever(search_kwargs=options), {})):
        with pytest.raises(error, match=message):
            retriever.invoke("capital", **call)


def test_a_store_is_required() -> None:
    with pytest.raises(TypeError, match="vectorstore is required"):
        T1Retriever()  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("fields", "call", "text"),
    [
        ({}, {}, "latipac"),
        ({"budget": 3}, {}, "lat"),
        ({"budget": 3}, {"budget": 2}, "la"),
        ({"think": False}, {"think": True}, "latipac"),
    ],
)
def test_thinking_options(store: T1QdrantVectorStore, fields: Any, call: Any, text: str) -> None:
    watcher = Watcher()
    T1Retriever(vectorstore=store, **fields).invoke("capital", {"callbacks": [watcher]}, **call)
    [(name, data, run_id)] = watcher.events
    assert (name, data["query"], data["thoughts"][0]["text"]) == (THOUGHT_EVENT, "capital", text)
    assert data["seconds"] > 0
    assert run_id == watcher.runs[0]


def test_refining_can_be_set_in_fields_and_calls(store: T1QdrantVectorStore) -> None:
    def scores(retriever: T1Retriever, **call: Any) -> list[float]:
        return [document.metadata["t1"]["score"] for document in retriever.invoke("capital", **call)]

    refined = T1Retriever(vectorstore=store, annotate=True, refine_steps=2, refine="last")
    plain = T1Retriever(vectorstore=store, annotate=True)
    expected = [hit.score for hit in store.find("capital", refine_steps=2, refine="last").hits]
    assert scores(refined) == scores(plain, refine_steps=2, refine="last") == expected
    assert scores(refined, refine_steps=0) == scores(plain) != expected


@pytest.mark.parametrize(("fields", "call"), [({"budget": 3}, {"think": False}), ({"think": False}, {})])
def test_a_run_without_a_thought_sends_no_event(store: T1QdrantVectorStore, fields: Any, call: Any) -> None:
    watcher = Watcher()
    assert T1Retriever(vectorstore=store, **fields).invoke("capital", {"callbacks": [watcher]}, **call)
    assert watcher.events == []


async def test_the_thought_reaches_callbacks_and_event_streams(store: T1QdrantVectorStore) -> None:
    retriever = store.as_retriever(search_kwargs={"k": 1})
    watcher = Watcher()
    await retriever.ainvoke("capital", {"callbacks": [watcher]})
    assert watcher.events[0][1]["thoughts"] == [THOUGHT]
    retriever.batch(["capital", "capital"], {"callbacks": [watcher]})
    assert len(watcher.events) == 3
    prompt = ChatPromptTemplate.from_template("{context} {question}")
    chain = (
        {"context": retriever, "question": RunnablePassthrough()}
        | prompt
        | FakeListChatModel(responses=["Oslo"])
        | StrOutputParser()
    )
    events = [event async for event in chain.astream_events("capital", version="v2")]
    sent = [event for event in events if event["name"] == THOUGHT_EVENT]
    assert [event["event"] for event in sent] == ["on_custom_event"]
    assert sent[0]["data"]["thoughts"] == [THOUGHT]
    assert [event["run_id"] for event in events if event["event"] == "on_retriever_start"] == [sent[0]["run_id"]]
    assert await chain.ainvoke("capital") == chain.invoke("capital") == "Oslo"


async def test_concurrent_runs_do_not_mix_their_thoughts(store: T1QdrantVectorStore) -> None:
    queries = [f"query number {n}" for n in range(12)]
    watchers = [Watcher() for _ in queries]
    await store.as_retriever().abatch(queries, [{"callbacks": [watcher]} for watcher in watchers])
    for query, watcher in zip(queries, watchers, strict=True):
        assert [data["thoughts"][0]["text"] for _, data, _ in watcher.events] == [query[::-1]]


def test_thoughts_are_added_to_metadata_only_on_request(store: T1QdrantVectorStore) -> None:
    [plain] = store.as_retriever(k=1).invoke("capital")
    assert plain in DOCUMENTS
    [annotated] = store.as_retriever(k=1, annotate=True).invoke("capital")
    added = annotated.metadata.pop("t1")
    assert added["thoughts"] == [THOUGHT]
    assert -1 <= added["score"] <= 1
    assert annotated == plain
    assert store.get_by_ids([str(annotated.id)]) == [plain]


def test_tags_and_tracing_follow_the_conventions_of_langchain(store: T1QdrantVectorStore) -> None:
    for retriever in (store.as_retriever(), T1Retriever(vectorstore=store)):
        watcher = Watcher()
        retriever.invoke("capital", {"callbacks": [watcher]})
        [started] = watcher.started
        assert started["tags"] == ["T1QdrantVectorStore", "T1Embeddings"]
        assert started["metadata"] == {
            "ls_retriever_name": "t1",
            "ls_vector_store_provider": "T1QdrantVectorStore",
            "ls_embedding_provider": "T1Embeddings",
            "ls_embedding_model": "fake",
        }
    assert T1Retriever(vectorstore=store, tags=["mine"]).tags == ["mine"]


def test_documents_can_be_added_through_a_retriever(store: T1QdrantVectorStore) -> None:
    retriever = store.as_retriever()
    assert retriever.add_documents([Document("Lima", id="lima")]) == ["lima"]
    assert retriever.invoke("Lima", k=1, think=False)[0].id == "lima"


def test_it_composes_like_any_runnable(store: T1QdrantVectorStore) -> None:
    chain = store.as_retriever(k=1) | RunnableLambda(lambda found: found[0].id)
    assert chain.with_config(tags=["mine"]).invoke("capital") in {"norway", "france"}
    bound = store.as_retriever().bind(k=1, think=False)
    assert [each.id for each in bound.invoke("capital of Norway")] == ["norway"]


def test_fields_can_be_configurable(store: T1QdrantVectorStore) -> None:
    retriever = store.as_retriever().configurable_fields(k=ConfigurableField("k"), think=ConfigurableField("think"))
    watcher = Watcher()
    config: Any = {"configurable": {"k": 1, "think": False}, "callbacks": [watcher]}
    assert [each.id for each in retriever.invoke("capital of Norway", config)] == ["norway"]
    assert watcher.events == []
