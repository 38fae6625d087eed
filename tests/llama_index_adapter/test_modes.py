"""LlamaIndex's query modes ``hybrid`` and ``mmr``, and grouping by document, on every engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.schema import NodeRelationship, NodeWithScore, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryMode

from t1_vectorstore.errors import CollectionMismatch
from t1_vectorstore.llama_index import T1Embedding, T1QdrantVectorStore, T1Retriever
from tests.collection.conftest import Place
from tests.collection.points import vector

HYBRID, MMR = VectorStoreQueryMode.HYBRID, VectorStoreQueryMode.MMR
EAST = [1.0, *[0.0] * 63]
NORTH = [0.0, 1.0, *[0.0] * 62]
QUERY = "petroleum from the north"


@pytest.fixture
def store(place: Place, embedding: T1Embedding) -> T1QdrantVectorStore:
    """Three nodes with nearly the same vector, a different one, and two distant nodes of one document."""
    store = T1QdrantVectorStore(place.open(identity=embedding.identity, hybrid=True))
    places = {
        "east 1": EAST,
        "east 2": (np.array(EAST) + 0.01 * np.array(NORTH)).tolist(),
        "east 3": (np.array(EAST) - 0.02 * np.array(NORTH)).tolist(),
        "between": (np.array(EAST) + np.array(NORTH)).tolist(),
        "oil 1": vector(1, 64).tolist(),
        "oil 2": vector(2, 64).tolist(),
    }
    source = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id="oil")}
    store.add(
        TextNode(
            id_=name,
            text="petroleum" if name == "oil 1" else "something else",
            relationships=source if name.startswith("oil") else {},
            embedding=at,
        )
        for name, at in places.items()
    )  # type: ignore[arg-type] # any iterable is accepted
    return store


def ask(store: T1QdrantVectorStore, *, k: int = 2, kwargs: Any = None, **options: Any) -> list[str]:
    result = store.query(VectorStoreQuery(EAST, similarity_top_k=k, **options), **(kwargs or {}))
    assert result.similarities is not None
    assert result.nodes is not None
    for node, score in zip(result.nodes, result.similarities, strict=True):
        at = np.array(store.get_nodes([node.node_id])[0].embedding)
        assert score == pytest.approx(at[0], abs=1e-5), "similarities are cosines in every mode"
    return list(result.ids or [])


def test_hybrid_queries_also_find_nodes_by_their_words(store: T1QdrantVectorStore) -> None:
    assert "oil 1" not in ask(store, k=3)
    assert "oil 1" in ask(store, k=3, mode=HYBRID, query_str=QUERY)
    assert "oil 1" not in ask(store, k=3, mode=HYBRID, query_str="nothing of this")
    assert "oil 1" not in ask(store, k=3, mode=HYBRID, query_str=QUERY, alpha=1)
    assert ask(store, k=3, mode=HYBRID, query_str=QUERY, alpha=0)[0].startswith("oil")
    assert len(ask(store, k=5, mode=HYBRID, query_str=QUERY, hybrid_top_k=2, sparse_top_k=10)) == 2


def test_diversity_is_one_minus_the_threshold(store: T1QdrantVectorStore) -> None:
    assert set(ask(store, k=3)) == {"east 1", "east 2", "east 3"}
    assert ask(store, k=3, mode=MMR, kwargs={"mmr_threshold": 1}) == ask(store, k=3)
    different = ask(store, mode=MMR, mmr_threshold=0.1)
    assert different[0] == "east 1"
    assert different[1] not in ("east 2", "east 3")
    assert ask(store, mode=MMR) == ask(store, mode=MMR, mmr_threshold=0.5)


def test_grouping_returns_the_best_node_of_each_document(store: T1QdrantVectorStore) -> None:
    found = ask(store, k=10, kwargs={"group": True})
    assert len([name for name in found if name.startswith("oil")]) == 1
    assert len(found) == 5


def test_modes_through_an_index(store: T1QdrantVectorStore, embedding: T1Embedding) -> None:
    index = VectorStoreIndex.from_vector_store(store, embedding)

    def found(**options: Any) -> list[str]:
        return [scored.node_id for scored in index.as_retriever(similarity_top_k=4, **options).retrieve(QUERY)]

    at = embedding.get_query_embedding(QUERY)
    assert found(vector_store_query_mode="hybrid") == [hit.id for hit in store.client.search(at, text=QUERY, limit=4)]
    assert found(vector_store_query_mode="mmr", vector_store_kwargs={"mmr_threshold": 0.3}) == [
        hit.id for hit in store.client.search(at, diversity=0.7, limit=4)
    ]
    assert "oil 1" in found(vector_store_query_mode="hybrid")


async def test_modes_through_the_retriever(store: T1QdrantVectorStore, embedding: T1Embedding) -> None:
    def names(found: list[NodeWithScore]) -> list[str]:
        return [scored.node_id for scored in found]

    at, thought = embedding.get_query_embedding(QUERY), embedding.embed_query(QUERY).thoughts[0].text
    by_words = [hit.id for hit in store.client.search(at, text=f"{QUERY}\n{thought}", limit=4)]
    for retriever in (
        T1Retriever(store, embedding, similarity_top_k=4),
        T1Retriever(store, embedding, similarity_top_k=4, hybrid=True),
    ):
        assert names(retriever.retrieve(QUERY)) == names(await retriever.aretrieve(QUERY)) == by_words
    words_only = T1Retriever(store, embedding, similarity_top_k=4, vector_weight=0)
    expected = [hit.id for hit in store.client.search(at, text=f"{QUERY}\n{thought}", limit=4, vector_weight=0)]
    assert names(words_only.retrieve(QUERY)) == expected != by_words
    plain = T1Retriever(store, embedding, similarity_top_k=4, hybrid=False)
    assert names(plain.retrieve(QUERY)) == [hit.id for hit in store.client.search(at, limit=4)]
    various = T1Retriever(store, embedding, similarity_top_k=4, hybrid=False, diversity=0.7, candidates=6)
    assert names(various.retrieve(QUERY)) == [
        hit.id for hit in store.client.search(at, diversity=0.7, candidates=6, limit=4)
    ]
    grouped = T1Retriever(store, embedding, similarity_top_k=10, group=True)
    assert len(grouped.retrieve(QUERY)) == 5


def test_a_retriever_checks_its_options_at_construction(quick: T1QdrantVectorStore, embedding: T1Embedding) -> None:
    with pytest.raises(ValueError, match=r"stores no words to search.*; create it with hybrid=True"):
        T1Retriever(quick, embedding, hybrid=True)
    with pytest.raises(ValueError, match=r"diversity must be less than or equal to 1, got 1\.5"):
        T1Retriever(quick, embedding, diversity=1.5)
    with pytest.raises(ValueError, match="this search has no words"):
        T1Retriever(quick, embedding, vector_weight=0.7)
    assert T1Retriever(quick, embedding).retrieve("a") == []


def test_options_of_a_new_collection(tmp_path: Path, embedding: T1Embedding) -> None:
    options: dict[str, Any] = {"hybrid": True, "indexes": {"year": "integer"}, "tenant": "customer"}
    with T1QdrantVectorStore.open(tmp_path / "index", embedding, **options) as store:
        node = TextNode(text="petroleum", metadata={"year": 2001, "customer": "a"}, embedding=EAST)
        store.add([node])
        assert ask(store, mode=HYBRID, query_str="petroleum", kwargs={"filter": {"customer": "a", "year": 2001}})
    with T1QdrantVectorStore.open(tmp_path / "index", embedding) as store:
        assert store.client.hybrid
    with pytest.raises(CollectionMismatch, match="hybrid"):
        T1QdrantVectorStore.open(tmp_path / "index", embedding, hybrid=False)


@pytest.mark.parametrize("mode", ["sparse", "text_search"])
def test_words_only_without_a_word_finds_nothing(store: T1QdrantVectorStore, mode: str) -> None:
    for text in ("???", "who is it"):
        query = VectorStoreQuery(query_str=text, similarity_top_k=3, mode=VectorStoreQueryMode(mode))
        assert store.query(query).ids == []


def test_a_query_vector_may_be_an_array(store: T1QdrantVectorStore) -> None:
    query = VectorStoreQuery(query_embedding=np.array(EAST), similarity_top_k=1)  # type: ignore[arg-type]
    assert store.query(query).ids == ["east 1"]


def test_an_open_collection_takes_no_arguments_for_a_client(store: T1QdrantVectorStore) -> None:
    with pytest.raises(TypeError, match="hybrid_fusion_fn is an argument for a client"):
        T1QdrantVectorStore(store.client, hybrid_fusion_fn=max)  # type: ignore[call-overload]
    assert T1QdrantVectorStore(store.client, batch_size=10).client is store.client  # type: ignore[call-overload]
