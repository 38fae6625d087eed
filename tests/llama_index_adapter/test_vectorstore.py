"""``T1QdrantVectorStore`` for LlamaIndex, on every engine: queries, reading, deleting, and errors."""

from __future__ import annotations

import asyncio
import pickle
import time
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import (
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)

from t1_vectorstore import T1Embedder
from t1_vectorstore.errors import CollectionMismatch, CollectionNotFound
from t1_vectorstore.llama_index import T1Embedding, T1QdrantVectorStore

TEXTS = {
    "norway": "Oslo is the capital of Norway.",
    "france": "Paris is the capital of France.",
    "wheat": "Wheat grows in the fields of France.",
}


def nodes(embedding: T1Embedding, texts: dict[str, str] = TEXTS) -> list[TextNode]:
    """Return nodes with embeddings; the first two belong to one document, the others have no source."""
    created = []
    for number, (name, text) in enumerate(texts.items()):
        source = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id="capitals")} if number < 2 else {}
        vector = embedding.get_text_embedding(text)
        created.append(
            TextNode(id_=name, text=text, metadata={"number": number}, relationships=source, embedding=vector)
        )
    return created


def filters(number: int) -> MetadataFilters:
    return MetadataFilters(filters=[MetadataFilter(key="number", value=number)])


@pytest.fixture
def filled(store: T1QdrantVectorStore, embedding: T1Embedding) -> T1QdrantVectorStore:
    assert store.add(nodes(embedding)) == list(TEXTS)
    return store


def ask(embedding: T1Embedding, text: str = TEXTS["france"], **options: Any) -> VectorStoreQuery:
    return VectorStoreQuery(query_embedding=embedding.get_text_embedding(text), **{"similarity_top_k": 2, **options})


def ids(store: T1QdrantVectorStore) -> list[str]:
    return sorted(node.node_id for node in store.get_nodes())


def test_a_query_returns_nodes_scores_and_ids(filled: T1QdrantVectorStore, embedding: T1Embedding) -> None:
    result = filled.query(ask(embedding))
    assert result.ids is not None and result.nodes is not None and result.similarities is not None  # noqa: PT018
    assert [node.node_id for node in result.nodes] == result.ids
    assert result.ids[0] == "france"
    assert result.similarities[0] == pytest.approx(1, abs=1e-5)
    assert result.similarities[0] > result.similarities[1]
    assert result.nodes[0].get_content() == TEXTS["france"]


def test_a_query_can_be_restricted(filled: T1QdrantVectorStore, embedding: T1Embedding) -> None:
    def found(**options: Any) -> list[str]:
        return sorted(filled.query(ask(embedding, similarity_top_k=10, **options)).ids or [])

    assert found(filters=filters(2)) == ["wheat"]
    assert found(node_ids=["norway", "wheat", "nobody"]) == ["norway", "wheat"]
    assert found(doc_ids=["capitals"]) == ["france", "norway"]
    assert found(doc_ids=["capitals"], filters=filters(0)) == ["norway"]
    assert filled.query(ask(embedding), filter={"number": {"gte": 2}}).ids == ["wheat"]
    assert filled.query(ask(embedding), score_threshold=0.999).ids == ["france"]


def test_nodes_can_be_read_by_id_and_filter(filled: T1QdrantVectorStore) -> None:
    assert ids(filled) == sorted(TEXTS)
    assert [node.node_id for node in filled.get_nodes(["wheat", "nobody", "norway", "wheat"])] == ["wheat", "norway"]
    assert [node.node_id for node in filled.get_nodes(filters=filters(1))] == ["france"]
    assert [node.node_id for node in filled.get_nodes(["wheat"], filters(1))] == []
    assert filled.get_nodes([]) == []


def test_adding_a_node_again_replaces_it(filled: T1QdrantVectorStore, embedding: T1Embedding) -> None:
    filled.add(nodes(embedding, {"norway": "Bergen lies in Norway."}))
    assert ids(filled) == sorted(TEXTS)
    assert filled.get_nodes(["norway"])[0].get_content() == "Bergen lies in Norway."


def test_documents_are_deleted_with_all_nodes(filled: T1QdrantVectorStore) -> None:
    filled.delete("nobody")
    filled.delete("None")
    assert ids(filled) == sorted(TEXTS)
    filled.delete("capitals")
    assert ids(filled) == ["wheat"]
    filled.delete("wheat")
    assert ids(filled) == []


def test_nodes_can_be_deleted_by_id_by_filter_or_by_both(filled: T1QdrantVectorStore) -> None:
    filled.delete_nodes(["norway"], filters(2))
    filled.delete_nodes([])
    assert ids(filled) == sorted(TEXTS)
    filled.delete_nodes(["norway", "france"], filters(0))
    assert ids(filled) == ["france", "wheat"]
    filled.delete_nodes(filters=filters(2))
    assert ids(filled) == ["france"]
    filled.delete_nodes(["france", "nobody"])
    assert ids(filled) == []


def test_clear_deletes_all_nodes(filled: T1QdrantVectorStore, embedding: T1Embedding) -> None:
    filled.clear()
    assert ids(filled) == []
    filled.add(nodes(embedding))
    assert ids(filled) == sorted(TEXTS)


async def test_asynchronous_methods_do_the_same(store: T1QdrantVectorStore, embedding: T1Embedding) -> None:
    assert await store.async_add(nodes(embedding)) == list(TEXTS)
    assert await store.aquery(ask(embedding)) == store.query(ask(embedding))
    assert (await store.aquery(ask(embedding), filter={"number": 0}, score_threshold=-1)).ids == ["norway"]
    assert len(await store.aget_nodes()) == 3
    await store.adelete_nodes(["wheat"])
    assert ids(store) == ["france", "norway"]
    await store.adelete("capitals")
    assert ids(store) == []
    await store.async_add(nodes(embedding))
    await store.aclear()
    assert ids(store) == []


async def test_a_search_does_not_block_the_event_loop(
    quick: T1QdrantVectorStore, embedding: T1Embedding, monkeypatch: pytest.MonkeyPatch
) -> None:
    nearest = quick.client._engine.nearest

    def slow(*arguments: Any, **options: Any) -> Any:
        time.sleep(1)
        return nearest(*arguments, **options)

    monkeypatch.setattr(quick.client._engine, "nearest", slow)
    asking = asyncio.create_task(quick.aquery(ask(embedding)))
    ticks = 0
    while not asking.done():
        await asyncio.sleep(0.01)
        ticks += 1
    assert ticks >= 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"similarity_top_k": 0}, "similarity_top_k must be greater than or equal to 1, got 0"),
        ({"similarity_top_k": -1}, "similarity_top_k must be greater than or equal to 1, got -1"),
        ({"query_embedding": None}, "the query has no embedding"),
        ({"query_embedding": [1.0] * 3}, "this collection holds vectors of 64"),
        (
            {"mode": VectorStoreQueryMode.SVM},
            "no query mode 'svm'; it has 'default', 'hybrid', 'sparse', .*'mmr'",
        ),
        ({"mode": VectorStoreQueryMode.HYBRID}, "mode 'hybrid' needs its words: set query_str"),
        (
            {"mode": VectorStoreQueryMode.HYBRID, "query_str": "a"},
            "needs the words of the nodes.*create it with enable_hybrid=True",
        ),
        (
            {"mode": VectorStoreQueryMode.HYBRID, "query_str": "a", "alpha": 1.5},
            "alpha must be less than or equal to 1, got 1.5",
        ),
        (
            {"mode": VectorStoreQueryMode.MMR, "mmr_threshold": 2},
            "mmr_threshold must be less than or equal to 1, got 2",
        ),
        ({"mmr_threshold": 0.5}, "mmr_threshold=0.5 is for the query mode 'mmr', and this one is 'default'"),
    ],
)
def test_invalid_queries_are_refused(
    quick: T1QdrantVectorStore, embedding: T1Embedding, options: dict[str, Any], message: str
) -> None:
    given = {"query_embedding": embedding.get_text_embedding("a"), "similarity_top_k": 1, **options}
    with pytest.raises(ValueError, match=message):
        quick.query(VectorStoreQuery(**given))


def test_unknown_options_are_refused(quick: T1QdrantVectorStore, embedding: T1Embedding) -> None:
    with pytest.raises(TypeError, match=r"unknown option 'qdrant_filter'; did you mean 'qdrant_filters'"):
        quick.query(ask(embedding), qdrant_filter=None)
    with pytest.raises(TypeError, match="this store has one shard key"):
        quick.add(nodes(embedding), shard_identifier=1)
    with pytest.raises(TypeError, match=r"unknown option 'name'.* The options are .*collection_name"):
        T1QdrantVectorStore.open(":memory:", embedding, name="docs")
    with pytest.raises(ValueError, match="collection_name must have at least 1 character, got ''"):
        T1QdrantVectorStore.open(":memory:", embedding, collection_name="")


def test_a_collection_of_another_model_is_refused(tmp_path: Path, embedding: T1Embedding) -> None:
    T1QdrantVectorStore.open(tmp_path / "index", embedding).close()
    with pytest.raises(CollectionMismatch, match="fake"):
        T1QdrantVectorStore.open(tmp_path / "index", T1Embedder.fake(32))
    with pytest.raises(CollectionNotFound):
        T1QdrantVectorStore.open(tmp_path / "nowhere", embedding, create=False)
    store = T1QdrantVectorStore.open(tmp_path / "index", embedding, create=False)
    assert store.location == str(tmp_path / "index")
    store.close()


def test_an_open_collection_cannot_be_pickled(quick: T1QdrantVectorStore) -> None:
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(quick)
    assert quick.to_dict()["collection_name"] == "t1"
    assert "memory" in repr(quick)
