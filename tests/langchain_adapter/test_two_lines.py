"""An app that uses langchain-qdrant needs only two other lines."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding

DOCUMENTS = """
from langchain_core.documents import Document

documents = [
    Document("Leading exports of Norway: natural gas, petroleum.", metadata={"country": "Norway"}),
    Document("Industry in Germany: iron, steel, cars.", metadata={"country": "Germany"}),
]
"""

BEFORE = """
from langchain_huggingface import HuggingFaceEmbeddings
from langchain_qdrant import QdrantVectorStore

embeddings = HuggingFaceEmbeddings(model_name="BAAI/bge-small-en-v1.5")
store = QdrantVectorStore.from_documents(documents, embeddings, location=":memory:", collection_name="docs")
"""

AFTER = """
from t1_vectorstore.langchain import T1Embeddings, T1QdrantVectorStore

embeddings = T1Embeddings(model="t1-mini")
store = T1QdrantVectorStore.from_documents(documents, embeddings, location=":memory:", collection_name="docs")
"""

THE_SAME = """
from langchain_core.language_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough

retriever = store.as_retriever(search_kwargs={"k": 1})
prompt = ChatPromptTemplate.from_template("{context}\\n\\nQuestion: {question}")
model = FakeListChatModel(responses=["Cars."])
chain = {"context": retriever, "question": RunnablePassthrough()} | prompt | model | StrOutputParser()

question = "what do the factories of the biggest customer of the nation ruled from Oslo make"
answer = chain.invoke(question)
found = retriever.invoke(question)
"""


def run(app: str) -> dict[str, Any]:
    """Run an app, and return its variables."""
    names: dict[str, Any] = {}
    exec(compile(DOCUMENTS + app + THE_SAME, "an app", "exec"), names)
    return names


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # from langchain-qdrant
def test_the_app_runs_before_and_after(monkeypatch: pytest.MonkeyPatch) -> None:
    package = SimpleNamespace(HuggingFaceEmbeddings=lambda model_name: DeterministicFakeEmbedding(size=8))
    monkeypatch.setitem(sys.modules, "langchain_huggingface", package)
    before, after = run(BEFORE), run(AFTER)
    assert before["answer"] == after["answer"] == "Cars."
    assert len(before["found"]) == 1
    assert after["found"][0].page_content == "Industry in Germany: iron, steel, cars."


def test_two_lines_differ() -> None:
    before, after = (
        [line for line in code.splitlines() if line and not line.startswith("from ")] for code in (BEFORE, AFTER)
    )
    assert len(before) == len(after) == 2


def test_the_readme_shows_these_lines() -> None:
    page = (Path(__file__).parents[2] / "docs" / "langchain.md").read_text(encoding="utf-8")
    assert BEFORE.strip() in page
    assert AFTER.strip() in page
