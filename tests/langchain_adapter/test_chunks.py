"""A store that cuts long documents into chunks, and returns whole documents; on every engine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.documents import Document

from t1_vectorstore.langchain import T1Embeddings, T1QdrantVectorStore
from tests.langchain_adapter.conftest import DOCUMENTS, count, ids

FJORDS = "Fjords and mountains of the north."
LONG = Document(
    "\n\n  " + "Ships sail to the south. \n\t" * 40 + f"\r\n\r\n{FJORDS}\n\n" + "Trains run to the west.  " * 40 + "\n",
    id="long",
    metadata={"country": "Norway"},
)


@pytest.fixture
def chunked(place: dict[str, Any], embeddings: T1Embeddings) -> Iterator[T1QdrantVectorStore]:
    """A store with chunks of at most 200 characters."""
    with T1QdrantVectorStore.open(embeddings, chunk=200, **place) as store:
        store.add_documents([*DOCUMENTS, LONG])
        yield store


def test_a_long_document_is_found_once_and_as_it_was_added(chunked: T1QdrantVectorStore) -> None:
    assert count(chunked) > 8
    found = chunked.similarity_search(FJORDS, k=4)
    assert found[0] == LONG
    assert sorted(map(str, ids(found))) == ["france", "long", "norway", "wheat"]
    vector = chunked.embeddings.embed_query(FJORDS)
    assert chunked.similarity_search_by_vector(vector, k=4) == found
    assert ids(chunked.max_marginal_relevance_search(FJORDS, k=4))[0] == "long"
    assert chunked.similarity_search(FJORDS, filter={"country": "Norway"}) == [LONG, DOCUMENTS[0]]


async def test_asynchronous_searches_return_the_same_documents(chunked: T1QdrantVectorStore) -> None:
    assert await chunked.asimilarity_search_with_score(FJORDS) == chunked.similarity_search_with_score(FJORDS)
    assert (await chunked.as_retriever(k=1).ainvoke(FJORDS))[0] == LONG


def test_the_passage_is_in_the_metadata_on_request(chunked: T1QdrantVectorStore) -> None:
    [found] = chunked.as_retriever(k=1, annotate=True).invoke(FJORDS)
    passage = found.metadata["t1"]
    assert found.page_content[passage["start"] : passage["end"]] == passage["passage"]
    assert len(passage["passage"]) < 250


def test_documents_are_read_replaced_and_deleted_by_their_own_ids(chunked: T1QdrantVectorStore) -> None:
    assert chunked.get_by_ids(["long", "nobody", "wheat"]) == [LONG, DOCUMENTS[2]]
    shorter = Document(LONG.page_content[:500], id="long")
    chunked.add_documents([shorter])
    assert chunked.get_by_ids(["long"]) == [shorter]
    chunked.delete(["long"])
    assert count(chunked) == 3
    assert chunked.get_by_ids(["long"]) == []
