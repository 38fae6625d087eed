"""Random filters find and delete exactly what plain Python finds."""

from __future__ import annotations

import pytest
from langchain_core.documents import Document

from t1_vectorstore.langchain import T1Embeddings, T1QdrantVectorStore
from tests.collection.filter_oracle import INDEXES, cases, points
from tests.langchain_adapter.conftest import count


@pytest.mark.thorough
def test_random_filters_find_and_delete_the_same_as_python(embeddings: T1Embeddings) -> None:
    given, records = points()
    documents = [Document("text", id=point.chunk.id, metadata=dict(point.chunk.metadata)) for point in given]
    with T1QdrantVectorStore.open(embeddings, location=":memory:", indexes=INDEXES) as store:
        store.add_documents(documents)
        for n, case in enumerate(cases(2, 200)):
            if case.holds is None:
                continue
            expected = [str(k) for k, record in enumerate(records) if case.holds(record)]
            found = store.similarity_search("text", k=1000, filter=case.filter)
            assert sorted((document.id or "" for document in found), key=int) == expected, case.filter
            if n % 10 == 0 and 0 < len(expected) < len(given):
                store.delete(filter=case.filter)
                assert count(store) == len(given) - len(expected)
                store.add_documents([documents[int(deleted)] for deleted in expected])
