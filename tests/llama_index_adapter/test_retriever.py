"""``T1Retriever``: hits, thoughts as events, options, and queries with vectors or several phrasings."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_index.core.indices.query.query_transform import HyDEQueryTransform
from llama_index.core.llms import MockLLM
from llama_index.core.schema import IndexNode, MetadataMode, NodeWithScore, QueryBundle, TextNode
from llama_index.core.vector_stores.types import MetadataFilter, MetadataFilters

from t1_vectorstore import T1Embedder
from t1_vectorstore.engines import Nearest
from t1_vectorstore.errors import CollectionMismatch, InvalidText, StoreError
from t1_vectorstore.llama_index import T1Embedding, T1QdrantVectorStore, T1Retriever, T1ThoughtEvent
from t1_vectorstore.types import ModelIdentity
from tests.llama_index_adapter.test_vectorstore import TEXTS, nodes

QUERY = "capital of France"


@pytest.fixture
def filled(store: T1QdrantVectorStore, embedding: T1Embedding) -> T1QdrantVectorStore:
    store.add(nodes(embedding))
    return store


@pytest.fixture
def small(quick: T1QdrantVectorStore, embedding: T1Embedding) -> T1QdrantVectorStore:
    quick.add(nodes(embedding))
    return quick


def names(found: list[NodeWithScore]) -> list[str]:
    return [scored.node.node_id for scored in found]


async def test_hits_are_those_of_the_query_vector_with_its_thought(
    filled: T1QdrantVectorStore, embedding: T1Embedding
) -> None:
    retriever = T1Retriever(filled, embedding, similarity_top_k=3)
    found = retriever.retrieve(QUERY)
    vector = embedding.get_query_embedding(QUERY)
    expected = filled.client.search(np.array(vector), limit=3)
    assert names(found) == [hit.id for hit in expected]
    assert [scored.score for scored in found] == [hit.score for hit in expected]
    assert found[0].get_content() == TEXTS[found[0].node_id]
    assert await retriever.aretrieve(QUERY) == found


async def test_the_thought_is_an_event_within_the_span(
    small: T1QdrantVectorStore, embedding: T1Embedding, thoughts: list[T1ThoughtEvent]
) -> None:
    retriever = T1Retriever(small, embedding)
    retriever.retrieve(QUERY)
    await retriever.aretrieve("wheat")
    assert [(event.query, event.thoughts[0].text) for event in thoughts] == [
        (QUERY, "ecnarF fo latipac"),
        ("wheat", "taehw"),
    ]
    for event in thoughts:
        assert event.span_id is not None
        assert "T1Retriever" in event.span_id
        assert event.seconds > 0
    T1Retriever(small, embedding, think=False).retrieve(QUERY)
    assert len(thoughts) == 2


async def test_the_thought_is_in_metadata_only_on_request_and_hidden_from_prompts(
    small: T1QdrantVectorStore, embedding: T1Embedding
) -> None:
    [plain] = T1Retriever(small, embedding, similarity_top_k=1).retrieve(QUERY)
    assert plain.metadata.keys() == {"number"}
    retriever = T1Retriever(small, embedding, similarity_top_k=1, thought_in_metadata=True)
    for [scored] in (retriever.retrieve(QUERY), await retriever.aretrieve(QUERY)):
        assert scored.metadata["t1_thought"] == "ecnarF fo latipac"
        for mode in (MetadataMode.LLM, MetadataMode.EMBED):
            assert scored.node.get_content(mode) == plain.node.get_content(mode)
    assert "t1_thought" not in small.get_nodes([scored.node.node_id])[0].metadata


async def test_explanations_are_hidden_in_the_metadata(small: T1QdrantVectorStore, embedding: T1Embedding) -> None:
    [plain] = T1Retriever(small, embedding, similarity_top_k=1).retrieve(QUERY)
    retriever = T1Retriever(small, embedding, similarity_top_k=1, explain=True)
    for [scored] in (retriever.retrieve(QUERY), await retriever.aretrieve(QUERY)):
        assert scored.metadata["t1_explanation"]["sentences"][0]["text"] == "ecnarF fo latipac"
        for mode in (MetadataMode.LLM, MetadataMode.EMBED):
            assert scored.node.get_content(mode) == plain.node.get_content(mode)
    with pytest.raises(ValueError, match="explains the search for one text"):
        retriever.retrieve(QueryBundle(QUERY, custom_embedding_strs=["one", "two"]))


@pytest.mark.parametrize(
    "filters",
    [{"number": {"gte": 1}}, MetadataFilters(filters=[MetadataFilter(key="number", value=1, operator=">=")])],
    ids=["dict", "MetadataFilters"],
)
def test_filters_and_thresholds(filled: T1QdrantVectorStore, embedding: T1Embedding, filters: Any) -> None:
    everything = T1Retriever(filled, embedding, similarity_top_k=10).retrieve(QUERY)
    assert len(everything) == 3
    retriever = T1Retriever(filled, embedding, similarity_top_k=10, filters=filters)
    assert sorted(names(retriever.retrieve(QUERY))) == ["france", "wheat"]
    best = everything[0].score
    assert names(T1Retriever(filled, embedding, score_threshold=best).retrieve(QUERY)) == names(everything[:1])


def test_thinking_options_override_the_models(small: T1QdrantVectorStore, thoughts: list[T1ThoughtEvent]) -> None:
    embedding = T1Embedding.from_embedder(T1Embedder.fake(), budget=4)
    T1Retriever(small, embedding).retrieve(QUERY)
    T1Retriever(small, embedding, budget=2).retrieve(QUERY)
    T1Retriever(small, embedding, think=False).retrieve(QUERY)
    assert [event.thoughts[0].text for event in thoughts] == ["ecna", "ec"]


def test_refining_options_override_the_models(small: T1QdrantVectorStore) -> None:
    def scores(retriever: T1Retriever) -> list[float | None]:
        return [node.score for node in retriever.retrieve(QUERY)]

    plain = T1Embedding.from_embedder(T1Embedder.fake())
    refined = T1Embedding.from_embedder(T1Embedder.fake(), refine_steps=2, refine="last")
    assert scores(T1Retriever(small, plain, refine_steps=2, refine="last")) == scores(T1Retriever(small, refined))
    assert scores(T1Retriever(small, refined, refine_steps=0)) == scores(T1Retriever(small, plain))
    assert scores(T1Retriever(small, refined)) != scores(T1Retriever(small, plain))


async def test_the_callers_query_is_not_changed(small: T1QdrantVectorStore, embedding: T1Embedding) -> None:
    retriever = T1Retriever(small, embedding)
    for bundle in (QueryBundle(QUERY), QueryBundle(QUERY, custom_embedding_strs=["wheat", "fields"])):
        retriever.retrieve(bundle)
        await retriever.aretrieve(bundle)
        assert bundle.embedding is None


def test_a_given_vector_is_used_without_a_thought(
    small: T1QdrantVectorStore, embedding: T1Embedding, thoughts: list[T1ThoughtEvent]
) -> None:
    given = embedding.get_text_embedding(TEXTS["wheat"])
    [best, _] = T1Retriever(small, embedding).retrieve(QueryBundle(QUERY, embedding=given))
    assert best.node.node_id == "wheat"
    assert best.score == pytest.approx(1, abs=1e-5)
    assert thoughts == []


def test_each_of_several_phrasings_gets_a_thought(
    small: T1QdrantVectorStore, embedding: T1Embedding, thoughts: list[T1ThoughtEvent]
) -> None:
    phrasings = ["capital of France", "Paris"]
    found = T1Retriever(small, embedding).retrieve(QueryBundle("?", custom_embedding_strs=phrasings))
    [event] = thoughts
    assert [thought.text for thought in event.thoughts] == ["ecnarF fo latipac", "siraP"]
    mean = embedding.get_agg_embedding_from_queries(phrasings)
    assert [scored.score for scored in found] == [hit.score for hit in small.client.search(np.array(mean), limit=2)]
    only = T1Retriever(small, embedding).retrieve(QueryBundle("?", custom_embedding_strs=["Paris"]))
    assert only == T1Retriever(small, embedding).retrieve("Paris")


def test_query_transforms_of_llama_index(small: T1QdrantVectorStore, embedding: T1Embedding) -> None:
    bundle = HyDEQueryTransform(llm=MockLLM(max_tokens=5))(QUERY)
    assert len(bundle.embedding_strs) == 2
    assert len(T1Retriever(small, embedding).retrieve(bundle)) == 2


def test_an_index_node_leads_to_its_object(small: T1QdrantVectorStore, embedding: T1Embedding) -> None:
    text = "All about fjords."
    small.add([IndexNode(id_="more", text=text, index_id="fjords", embedding=embedding.get_text_embedding(text))])
    retriever = T1Retriever(
        small, embedding, similarity_top_k=1, think=False, object_map={"fjords": TextNode(id_="deep", text="1,300 m")}
    )
    assert names(retriever.retrieve(text)) == ["deep"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"similarity_top_k": 0}, "similarity_top_k must be greater than or equal to 1, got 0"),
        ({"score_threshold": 2.0}, "score_threshold must be less than or equal to 1, got 2.0"),
        ({"filters": {"a": {"near": 1}}}, "no operator 'near'"),
        ({"budget": -1}, "budget must be greater than or equal to 0, got -1"),
    ],
)
def test_invalid_options_are_refused_at_construction(
    small: T1QdrantVectorStore, embedding: T1Embedding, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        T1Retriever(small, embedding, **options)


def test_empty_queries_and_other_models_are_refused(small: T1QdrantVectorStore, embedding: T1Embedding) -> None:
    with pytest.raises(InvalidText, match="the query is empty"):
        T1Retriever(small, embedding).retrieve("")
    with pytest.raises(CollectionMismatch, match="the embedder is"):
        T1Retriever(small, T1Embedding.from_embedder(T1Embedder.fake(32))).retrieve(QUERY)


def test_unknown_options_are_refused(small: T1QdrantVectorStore, embedding: T1Embedding) -> None:
    for name, hint in (
        ("filter", "did you mean 'filters'"),
        ("limit", "The options are .*similarity_top_k"),
        ("k", ""),
    ):
        with pytest.raises(TypeError, match=f"unknown option '{name}'.*{hint}"):
            T1Retriever(small, embedding, **{name: 3})
    with pytest.raises(TypeError, match="embed_model must be a T1Embedding, got T1Embedder"):
        T1Retriever(small, embedding.embedder)  # type: ignore[arg-type]


def test_options_can_be_changed_later(small: T1QdrantVectorStore, embedding: T1Embedding) -> None:
    retriever = T1Retriever(small, embedding, score_threshold=-1.0)
    [best, second] = retriever.retrieve(QUERY)
    retriever.score_threshold = (best.score + second.score) / 2
    assert retriever.retrieve(QUERY) == [best]
    retriever.similarity_top_k, retriever.score_threshold = 3, None
    assert len(retriever.retrieve(QUERY)) == 3
    retriever.filters = {"number": 2}
    assert names(retriever.retrieve(QueryBundle(QUERY, custom_embedding_strs=["wheat", "fields"]))) == ["wheat"]
    retriever.diversity = 2.0
    with pytest.raises(ValueError, match=r"diversity must be less than or equal to 1, got 2.0"):
        retriever.retrieve(QUERY)


async def test_the_event_loop_is_not_blocked(small: T1QdrantVectorStore, slow: T1Embedding) -> None:
    retrieving = asyncio.create_task(T1Retriever(small, slow).aretrieve(QUERY))
    ticks = 0
    while not retrieving.done():
        await asyncio.sleep(0.01)
        ticks += 1
    assert len(retrieving.result()) == 2
    assert ticks >= 5


def test_a_compatible_model_searches_but_does_not_write(tmp_path: Path) -> None:
    """The stored texts are compared once, when the store is opened."""
    own = T1Embedding.from_embedder(T1Embedder.fake())
    texts = ["llamas live in Peru", "tin melts"]
    with T1QdrantVectorStore.open(tmp_path / "index", own) as store:
        store.add([TextNode(text=text, embedding=own.get_text_embedding(text)) for text in texts])
    embedder = T1Embedder.fake()
    embedder.identity = ModelIdentity("quantised", "0" * 16, embedder.dimension)
    other = T1Embedding.from_embedder(embedder)
    with pytest.raises(CollectionMismatch):
        T1QdrantVectorStore.open(tmp_path / "index", other)
    with pytest.raises(ValueError, match=r"compatible_with='t1-mini', but .* holds vectors of 'fake'"):
        T1QdrantVectorStore.open(tmp_path / "index", other, compatible_with="t1-mini")
    with T1QdrantVectorStore.open(tmp_path / "index", other, compatible_with="fake") as store:
        assert len(T1Retriever(store, other).retrieve("llamas")) == 2
        with pytest.raises(StoreError, match="read_only"):
            store.add([TextNode(text="another", embedding=other.get_text_embedding("another"))])
        third = T1Embedder.fake()
        third.identity = ModelIdentity("third", "1" * 16, third.dimension)
        with pytest.raises(CollectionMismatch):
            T1Retriever(store, T1Embedding.from_embedder(third)).retrieve("llamas")


def test_every_option_of_a_search_reaches_it(
    small: T1QdrantVectorStore, embedding: T1Embedding, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Nearest] = []
    nearest = small.client._engine.nearest
    monkeypatch.setattr(small.client._engine, "nearest", lambda query: (asked.append(query), nearest(query))[1])
    T1Retriever(small, embedding, search_params={"exact": True}, consistency="all").retrieve(QUERY)
    assert asked[0].params == {"exact": True}
    assert asked[0].consistency is not None
