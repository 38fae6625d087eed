"""Collections on a server that are shared with langchain-qdrant."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from langchain_qdrant import QdrantVectorStore
from qdrant_client import QdrantClient

from t1_vectorstore.errors import CollectionMismatch
from t1_vectorstore.langchain import T1Embeddings, T1QdrantVectorStore
from tests.langchain_adapter.conftest import DOCUMENTS

pytestmark = pytest.mark.server

QUERY = "capital of France"
UUID = "2f4e9d3a-9a4c-4d3e-8a55-0d8b8ed8a3a1"


@pytest.fixture
def stock(server_url: str, fresh_name: str, admin: QdrantClient, embeddings: T1Embeddings) -> Iterator[Any]:
    """langchain-qdrant on a collection that it creates itself, or that exists."""

    def stock_store(create: bool = True) -> QdrantVectorStore:
        if create:
            texts = [document.page_content for document in DOCUMENTS]
            metadatas = [document.metadata for document in DOCUMENTS]
            place: Any = {"url": server_url, "collection_name": fresh_name, "check_compatibility": False}
            QdrantVectorStore.from_texts(texts, embeddings, metadatas=metadatas, **place).client.close()
        return QdrantVectorStore(admin, fresh_name, embeddings)

    return stock_store


def test_a_collection_of_langchain_qdrant_can_be_used_here(
    stock: Any, server_url: str, fresh_name: str, embeddings: T1Embeddings
) -> None:
    theirs = stock()
    with pytest.raises(CollectionMismatch, match="adopt=True"):
        T1QdrantVectorStore.open(embeddings, url=server_url, collection_name=fresh_name)
    with T1QdrantVectorStore.from_existing_collection(
        embeddings, url=server_url, collection_name=fresh_name, adopt=True
    ) as ours:
        found = ours.similarity_search_with_score(QUERY, k=3)
        expected = theirs.similarity_search_with_score(QUERY, k=3)
        assert [(each.page_content, round(score, 4)) for each, score in found] == [
            (each.page_content, round(score, 4)) for each, score in expected
        ]
        assert [each.id for each, _ in found] == [each.metadata["_id"] for each, _ in expected]
        assert found[0][0].metadata["country"] == "France"
        assert ours.similarity_search(QUERY, filter={"year": {"gte": 2005}})[0].metadata["year"] == 2010
        assert len(ours.max_marginal_relevance_search(QUERY, k=3)) == 3
        assert ours.get_by_ids([str(found[0][0].id)]) == [found[0][0]]
        assert ours.add_texts(["Lima"], ids=[UUID]) == [UUID]
        assert theirs.get_by_ids([UUID])[0].page_content == "Lima"
        assert ours.delete([str(found[0][0].id)])
        assert len(theirs.similarity_search(QUERY, k=9)) == 3


def test_langchain_qdrant_can_read_a_collection_of_this_package(
    stock: Any, server_url: str, fresh_name: str, embeddings: T1Embeddings
) -> None:
    place: Any = {"url": server_url, "collection_name": fresh_name}
    with T1QdrantVectorStore.from_documents(DOCUMENTS, embeddings, **place) as ours:
        theirs = stock(create=False)
        expected = ours.similarity_search_with_score(QUERY, k=3)
        found = theirs.similarity_search_with_score(QUERY, k=3)
        assert [each.page_content for each, _ in found] == [each.page_content for each, _ in expected]
        assert [score for _, score in found] == pytest.approx([score for _, score in expected], abs=1e-4)
        assert found[0][0].metadata["country"] == "France"
