"""Measure the overhead of the LangChain and LlamaIndex adapters over ``T1VectorStore.search``.

The same searches are run with each of them, in turns, with the fake model, so that little else takes time. The
collections are folders.

    python benchmarks/adapter_overhead.py [--documents 1000] [--rounds 2000]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable

import numpy as np
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from llama_index.core.schema import TextNode

from t1_vectorstore import T1Embedder
from t1_vectorstore.langchain import T1Embeddings, T1QdrantVectorStore
from t1_vectorstore.llama_index import T1Embedding, T1Retriever
from t1_vectorstore.llama_index import T1QdrantVectorStore as LlamaIndexStore


class Listener(BaseCallbackHandler):
    """Receives every event, as a tracer would."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=2000)
    options = parser.parse_args()
    documents = [Document(f"document number {n} of many", metadata={"n": n}) for n in range(options.documents)]
    embedder = T1Embedder.fake(256)
    embeddings, embedding = T1Embeddings.from_embedder(embedder), T1Embedding.from_embedder(embedder)
    with (
        tempfile.TemporaryDirectory() as folder,
        T1QdrantVectorStore.from_documents(documents, embeddings, path=f"{folder}/langchain") as store,
        LlamaIndexStore.open(f"{folder}/llama_index", embedding) as nodes,
    ):
        texts = [document.page_content for document in documents]
        vectors = embedder.embed_documents(texts).vectors.tolist()
        nodes.add([TextNode(text=text, embedding=vector) for text, vector in zip(texts, vectors, strict=True)])
        plain = T1Retriever(nodes, embedding, similarity_top_k=10, think=False)
        thinking = T1Retriever(nodes, embedding, similarity_top_k=10)
        retriever = store.as_retriever(k=10)
        quiet, watched = {"think": False}, {"callbacks": [Listener()]}
        runs: dict[str, Callable[[str], object]] = {
            "T1VectorStore.search": lambda query: store.t1.search(query, limit=10, **quiet),
            "LangChain T1QdrantVectorStore.similarity_search": lambda query: store.similarity_search(
                query, k=10, **quiet
            ),
            "LangChain T1Retriever.invoke": lambda query: retriever.invoke(query, **quiet),
            "LlamaIndex T1Retriever.retrieve": lambda query: plain.retrieve(query),
            "T1VectorStore.search, with a thought": lambda query: store.t1.search(query, limit=10),
            "LangChain T1Retriever.invoke, with a thought, a listener": lambda query: retriever.invoke(query, watched),
            "LlamaIndex T1Retriever.retrieve, with a thought": lambda query: thinking.retrieve(query),
        }
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for number in range(options.rounds):
            query = f"many documents, number {number % 50}"
            for name, run in runs.items():
                started = time.perf_counter()
                run(query)
                seconds[name].append(time.perf_counter() - started)
    print(f"{options.documents} documents, {options.rounds} rounds, 10 hits, milliseconds\n")
    print("| | p50 | p90 | p50 over T1VectorStore.search |")
    print("|---|---|---|---|")
    base = float("nan")
    for name, spent in seconds.items():
        p50, p90 = np.percentile(spent, [50, 90]) * 1000
        if name.startswith("T1VectorStore"):
            base = p50
        print(f"| {name} | {p50:.3f} | {p90:.3f} | {p50 - base:.3f} |")


if __name__ == "__main__":
    main()
