"""A text for which the model gives no finite vector is named, and costs no other text its place."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from t1_vectorstore.collection import Collection
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.errors import BackendError, UnusableVector
from t1_vectorstore.indexing import load
from t1_vectorstore.types import Document
from tests.unusable import MARK, overflowing_embedder

BAD = {3, 17, 18}
DOCUMENTS = [
    Document(f"text {number}{MARK if number in BAD else ''}", f"doc {number}", {"n": number}) for number in range(40)
]


def test_the_texts_without_a_finite_vector_are_named() -> None:
    embedder = overflowing_embedder()
    with pytest.raises(UnusableVector, match=r"for text 3, 'text 3\\x07' \(norm nan\).*dtype='float32'") as raised:
        embedder.embed_documents([document.text for document in DOCUMENTS])
    assert raised.value.indexes == sorted(BAD)
    assert isinstance(raised.value, ValueError)
    assert pickle.loads(pickle.dumps(raised.value)).indexes == sorted(BAD)
    with pytest.raises(UnusableVector, match="for text 1, 'b") as raised:
        embedder.embed_queries(["a", f"b{MARK}"], think=False)
    assert raised.value.indexes == [1]


def test_a_model_that_gives_no_text_a_vector_is_a_failure_of_the_model() -> None:
    embedder = overflowing_embedder(every=True)
    with pytest.raises(BackendError, match=r"no usable vector for any text.*weights are damaged") as raised:
        embedder.embed_documents(["a", "b"])
    assert not isinstance(raised.value, UnusableVector)
    with pytest.raises(BackendError, match="any text"):
        load(DOCUMENTS, embedder, Collection.open(":memory:", identity=embedder.identity))


@pytest.mark.parametrize("batch_chunks", [1, 2, 7, 256])
def test_a_load_stores_all_other_texts_and_writes_the_bad_ones_to_the_dead_letters(
    tmp_path: Path, batch_chunks: int
) -> None:
    embedder, dead = overflowing_embedder(), tmp_path / "dead.jsonl"
    with Collection.open(tmp_path / "index", identity=embedder.identity) as collection:
        for encoded in (37, 0):  # the rerun has only the bad ones left, and ends the same way
            report = load(DOCUMENTS, embedder, collection, batch_chunks=batch_chunks, dead_letters=dead)
            assert (report.stored, report.encoded, report.failed) == (encoded, encoded, 3)
            assert {failure.id for failure in report.failures} == {f"doc {number}" for number in BAD}
            assert all("no finite vector" in failure.reason for failure in report.failures)
            letters = [json.loads(line) for line in dead.read_text().splitlines()]
            assert {letter["text"] for letter in letters} == {DOCUMENTS[number].text for number in BAD}
        plain = T1Embedder.fake(16)
        for point in collection.scroll(with_vectors=True):
            np.testing.assert_allclose(point.vector, plain.embed_documents([point.chunk.text]).vectors[0], atol=1e-6)


def test_langchain_names_the_document_and_stores_the_others() -> None:
    from t1_vectorstore.langchain import T1Embeddings, T1QdrantVectorStore

    store = T1QdrantVectorStore.open(T1Embeddings.from_embedder(overflowing_embedder()), location=":memory:")
    with pytest.raises(ValueError, match=r"3 of 40 documents .*'doc 3': .*no finite"):
        store.add_texts([document.text for document in DOCUMENTS], ids=[str(document.id) for document in DOCUMENTS])
    assert store.t1.count() == 37


def test_llama_index_names_the_text() -> None:
    from t1_vectorstore.llama_index import T1Embedding

    embedding = T1Embedding.from_embedder(overflowing_embedder())
    with pytest.raises(UnusableVector, match=r"for text 1, 'b\\x07'"):
        embedding.get_text_embedding_batch(["a", f"b{MARK}"])
