"""An app that uses LlamaIndex's own Qdrant store needs only two other lines."""

from __future__ import annotations

import contextlib
import io
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
from llama_index.core import MockEmbedding

BEFORE = """
from llama_index.embeddings.huggingface import HuggingFaceEmbedding
from llama_index.vector_stores.qdrant import QdrantVectorStore
from qdrant_client import QdrantClient

embed_model = HuggingFaceEmbedding("BAAI/bge-small-en-v1.5")
vector_store = QdrantVectorStore("docs", client=QdrantClient(":memory:"))
"""

AFTER = """
from qdrant_client import QdrantClient

from t1_vectorstore.llama_index import T1Embedding, T1QdrantVectorStore

embed_model = T1Embedding(model_name="t1-mini")
vector_store = T1QdrantVectorStore("docs", client=QdrantClient(":memory:"), embed_model=embed_model)
"""

THE_SAME = """
from llama_index.core import Document, StorageContext, VectorStoreIndex

documents = [
    Document(text="Leading exports of Norway: natural gas, petroleum.", metadata={"country": "Norway"}),
    Document(text="Industry in Germany: iron, steel, cars.", metadata={"country": "Germany"}),
]
context = StorageContext.from_defaults(vector_store=vector_store)
index = VectorStoreIndex.from_documents(documents, storage_context=context, embed_model=embed_model)
question = "what do the factories of the biggest customer of the nation ruled from Oslo make"
for hit in index.as_retriever(similarity_top_k=2).retrieve(question):
    print(hit.score, hit.text)
"""


def lines_printed(code: str) -> list[str]:
    """Run an app, and return the lines that it prints."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(code, "an app", "exec"), {})
    return printed.getvalue().splitlines()


def test_the_app_runs_before_and_after(monkeypatch: pytest.MonkeyPatch) -> None:
    package = SimpleNamespace(HuggingFaceEmbedding=lambda name: MockEmbedding(embed_dim=8))
    monkeypatch.setitem(sys.modules, "llama_index.embeddings", SimpleNamespace(__path__=[]))
    monkeypatch.setitem(sys.modules, "llama_index.embeddings.huggingface", package)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from the other package
        assert len(lines_printed(BEFORE + THE_SAME)) == 2
    best, _ = lines_printed(AFTER + THE_SAME)
    assert "Industry in Germany" in best


def test_two_lines_differ() -> None:
    before, after = (
        [line for line in code.splitlines() if line and not line.startswith("from ")] for code in (BEFORE, AFTER)
    )
    assert len(before) == len(after) == 2


def test_the_readme_shows_these_lines() -> None:
    page = (Path(__file__).parents[2] / "docs" / "llama-index.md").read_text(encoding="utf-8")
    assert BEFORE.strip() in page
    assert AFTER.strip() in page
