"""Collections of llama-index-vector-stores-qdrant can be read, searched and changed here."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import MetadataFilter, MetadataFilters, VectorStoreQuery
from qdrant_client import QdrantClient

from t1_vectorstore.errors import CollectionMismatch
from t1_vectorstore.llama_index import T1Embedding, T1QdrantVectorStore, T1Retriever

pytestmark = pytest.mark.server

TEXTS = ["Oslo is the capital of Norway.", "Paris is the capital of France.", "Wheat grows in the fields of France."]
IDS = [f"00000000-0000-0000-0000-00000000000{number}" for number in range(3)]


def stock_nodes(embedding: T1Embedding) -> list[TextNode]:
    """Return two nodes of one document, and one without a source."""
    return [
        TextNode(
            id_=IDS[number],
            text=text,
            metadata={"number": number, "tags": ["a", text[0]]},
            excluded_llm_metadata_keys=["tags"],
            relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id="capitals")} if number < 2 else {},
            start_char_idx=number,
            end_char_idx=number + len(text),
            embedding=embedding.get_text_embedding(text),
        )
        for number, text in enumerate(TEXTS)
    ]


@pytest.fixture
def stock(fresh_name: str, admin: QdrantClient) -> Callable[..., Any]:
    """LlamaIndex's own store on the same server."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from llama_index.vector_stores.qdrant import QdrantVectorStore

    return lambda **options: QdrantVectorStore(fresh_name, client=admin, **options)


@pytest.fixture
def adopted(
    stock: Callable[..., Any], server_url: str, fresh_name: str, embedding: T1Embedding
) -> Iterator[T1QdrantVectorStore]:
    stock().add(stock_nodes(embedding))
    store = T1QdrantVectorStore.open(
        server_url, embedding, collection_name=fresh_name, create=False, adopt=True, metadata_key=""
    )
    yield store
    store.close()


def test_nodes_are_returned_as_they_were_added(adopted: T1QdrantVectorStore, embedding: T1Embedding) -> None:
    written = {node.node_id: node for node in stock_nodes(embedding)}
    for found in adopted.get_nodes():
        expected = written[found.node_id]
        assert found.embedding == pytest.approx(expected.embedding, abs=1e-5)
        assert found.model_dump(exclude={"embedding"}) == expected.model_dump(exclude={"embedding"})


def test_both_stores_find_the_same(
    adopted: T1QdrantVectorStore, stock: Callable[..., Any], embedding: T1Embedding
) -> None:
    vector = embedding.get_query_embedding("capital of France")
    for filters in (None, MetadataFilters(filters=[MetadataFilter(key="tags", value="P")])):
        query = VectorStoreQuery(query_embedding=vector, similarity_top_k=3, filters=filters)
        ours, theirs = adopted.query(query), stock().query(query)
        assert ours.ids == theirs.ids
        assert ours.similarities == pytest.approx(theirs.similarities, abs=1e-5)
    assert adopted.query(VectorStoreQuery(vector, similarity_top_k=3, doc_ids=["capitals"])).ids != []
    assert len(T1Retriever(adopted, embedding, filters={"number": {"gte": 1}}).retrieve("capital")) == 2


def test_documents_are_deleted_with_all_nodes(adopted: T1QdrantVectorStore) -> None:
    adopted.delete("None")
    assert len(adopted.get_nodes()) == 3
    adopted.delete("capitals")
    assert [node.node_id for node in adopted.get_nodes()] == [IDS[2]]
    adopted.delete_nodes([IDS[2]])
    assert adopted.get_nodes() == []


def test_collections_are_adopted_only_on_request(
    stock: Callable[..., Any], server_url: str, fresh_name: str, embedding: T1Embedding
) -> None:
    stock().add(stock_nodes(embedding))
    with pytest.raises(CollectionMismatch, match="adopt=True"):
        T1QdrantVectorStore.open(server_url, embedding, collection_name=fresh_name)


def test_the_dense_vectors_of_a_hybrid_collection_are_searched(
    stock: Callable[..., Any], server_url: str, fresh_name: str, embedding: T1Embedding
) -> None:
    hybrid = stock(
        enable_hybrid=True,
        sparse_doc_fn=lambda texts: ([[1]] * len(texts), [[1.0]] * len(texts)),
        sparse_query_fn=lambda texts: ([[1]] * len(texts), [[1.0]] * len(texts)),
    )
    hybrid.add(stock_nodes(embedding))
    query = VectorStoreQuery(query_embedding=embedding.get_query_embedding("capital of France"), similarity_top_k=3)
    with T1QdrantVectorStore.open(server_url, embedding, collection_name=fresh_name, adopt=True) as ours:
        assert ours.query(query).ids == hybrid.query(query).ids
        assert {node.text for node in ours.get_nodes()} == set(TEXTS)


def test_nodes_added_here_can_be_read_by_the_other_store(
    adopted: T1QdrantVectorStore, stock: Callable[..., Any], embedding: T1Embedding
) -> None:
    text = "Llamas live in the Andes."
    vector = embedding.get_text_embedding(text)
    adopted.add([TextNode(id_="00000000-0000-0000-0000-000000000009", text=text, embedding=vector)])
    query = VectorStoreQuery(query_embedding=vector, similarity_top_k=1)
    for store in (adopted, stock()):
        [node] = store.query(query).nodes
        assert node.text == text


def test_adopting_with_wrong_payload_keys_is_refused(
    stock: Callable[..., Any], server_url: str, fresh_name: str, embedding: T1Embedding
) -> None:
    stock().add(stock_nodes(embedding))
    place: Any = {"collection_name": fresh_name, "create": False, "adopt": True, "content_key": "body"}
    with pytest.raises(CollectionMismatch, match=r"neither 'body' nor 'metadata'.*metadata_key=''"):
        T1QdrantVectorStore.open(server_url, embedding, **place)
