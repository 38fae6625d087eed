"""What LlamaIndex's face costs over ``T1VectorStore.search``."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from llama_index.core.schema import TextNode

from t1_vectorstore import T1VectorStore
from t1_vectorstore.llama_index import T1Embedding, T1QdrantVectorStore, T1Retriever


@pytest.mark.slow
def test_less_than_a_millisecond_for_ten_nodes(tmp_path: Path, embedding: T1Embedding) -> None:
    with T1QdrantVectorStore.open(tmp_path / "index", embedding) as store:
        texts = [f"document number {number} of many" for number in range(1000)]
        vectors = embedding.get_text_embedding_batch(texts)
        store.add([TextNode(text=text, embedding=vector) for text, vector in zip(texts, vectors, strict=True)])
        retriever = T1Retriever(store, embedding, similarity_top_k=10, think=False)
        core = T1VectorStore(embedding.embedder, store.client)
        runs: list[Callable[[str], object]] = [
            lambda query: core.search(query, limit=10, think=False),
            lambda query: retriever.retrieve(query),
        ]
        seconds: list[list[float]] = [[], []]
        for number in range(500):
            for run, spent in zip(runs, seconds, strict=True):
                started = time.perf_counter()
                run(f"many documents, number {number % 50}")
                spent.append(time.perf_counter() - started)
    assert np.median(seconds[1]) - np.median(seconds[0]) < 0.001
