"""This adapter has none of the defects of llama-index-vector-stores-qdrant 0.10.4 after which the tests are named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores.types import MetadataFilters, VectorStoreQuery

from t1_vectorstore.llama_index import T1Embedding, T1QdrantVectorStore
from t1_vectorstore.types import Chunk, Point
from tests.collection.points import vector


def node(name: str, dimension: int = 64) -> TextNode:
    return TextNode(id_=name, text=f"text of {name}", embedding=vector(len(name), dimension).tolist())


def test_delete_nodes_without_arguments_deletes_everything(store: T1QdrantVectorStore) -> None:
    store.add([node("a"), node("b")])
    for arguments in ({}, {"filters": MetadataFilters(filters=[])}):
        with pytest.raises(ValueError, match=r"clear\(\) deletes everything|would delete every point"):
            store.delete_nodes(**arguments)  # type: ignore[arg-type]
    store.delete_nodes([])
    store.delete_nodes([], MetadataFilters(filters=[]))
    assert len(store.get_nodes()) == 2


async def test_async_add_with_no_retries_returns_ids_and_stores_nothing(store: T1QdrantVectorStore) -> None:
    with pytest.raises(TypeError, match="unknown option 'max_retries'"):
        await store.async_add([node("a")], max_retries=0)
    assert store.get_nodes() == []
    for name in await store.async_add([node("a"), node("b")]):
        assert len(store.get_nodes([name])) == 1


def test_there_is_no_dimension_check(store: T1QdrantVectorStore) -> None:
    with pytest.raises(ValueError, match=r"node 'a' has a vector of shape \(3,\); this collection holds .* 64 dim"):
        store.add([node("a", dimension=3)])
    with pytest.raises(ValueError, match=r"the query has a vector of shape \(3,\)"):
        store.query(VectorStoreQuery(query_embedding=[1.0] * 3))
    assert store.get_nodes() == []


@pytest.mark.parametrize("name", ["a", "docs/a.md#3", "17", "é", "6f0c4a5e-3a8b-5d0f-9b57-7431766563aa", "x" * 500])
def test_ids_must_be_uuids(quick: T1QdrantVectorStore, name: str) -> None:
    assert quick.add([node(name)]) == [name]
    assert [found.node_id for found in quick.get_nodes([name])] == [name]
    assert quick.query(VectorStoreQuery(query_embedding=node(name).embedding)).ids == [name]
    quick.delete_nodes([name])
    assert quick.get_nodes() == []


@pytest.mark.thorough
def test_reads_are_capped_at_9999(tmp_path: Path, embedding: T1Embedding) -> None:
    store = T1QdrantVectorStore.open(tmp_path / "index", embedding)
    there = vector(0, 64)
    store.client.upsert(Point(Chunk(str(n), str(n), "text", 0, 4), there) for n in range(10_001))
    assert len(store.get_nodes()) == 10_001
    assert len(store.get_nodes([str(n) for n in range(10_001)])) == 10_001
    store.close()


def test_all_points_are_built_before_the_first_is_sent(
    quick: T1QdrantVectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    created = 0
    created_at_first_write: list[int] = []
    write = quick.client._engine.write

    def watched(rows: object) -> None:
        created_at_first_write.append(created)
        write(rows)  # type: ignore[arg-type]

    def stream() -> Iterator[TextNode]:
        nonlocal created
        for number in range(1000):
            created += 1
            yield node(str(number))

    monkeypatch.setattr(quick.client._engine, "write", watched)
    assert len(quick.add(stream())) == 1000  # type: ignore[arg-type]
    assert created_at_first_write[0] < 300
    assert len(quick.get_nodes()) == 1000
