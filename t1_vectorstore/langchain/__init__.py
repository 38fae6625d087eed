"""T1 for LangChain: embeddings for any vector store, and a store and a retriever that also return the thoughts."""

from __future__ import annotations

from t1_vectorstore.errors import MissingExtraError

try:
    import langchain_core  # noqa: F401 - only to report a missing extra
except ModuleNotFoundError as error:
    raise MissingExtraError("langchain", "t1_vectorstore.langchain") from error

from t1_vectorstore.langchain.embeddings import T1Embeddings
from t1_vectorstore.langchain.retriever import THOUGHT_EVENT, T1Retriever
from t1_vectorstore.langchain.stock import RetrievalMode
from t1_vectorstore.langchain.vectorstore import T1QdrantVectorStore

__all__ = ["THOUGHT_EVENT", "RetrievalMode", "T1Embeddings", "T1QdrantVectorStore", "T1Retriever"]
