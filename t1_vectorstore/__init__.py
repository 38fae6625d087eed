"""T1 (Thought 1): a retrieval model that thinks before it embeds, with Qdrant as its vector store.

Each name is imported on first use, so that importing the package loads neither torch nor qdrant_client.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from t1_vectorstore.checkpoints.checkpoint import default_model
    from t1_vectorstore.checkpoints.spec import CheckpointSpec
    from t1_vectorstore.embedding.embedder import T1Embedder
    from t1_vectorstore.types import Document, Hit, QueryEmbedding, SearchResult, Thought
    from t1_vectorstore.vectorstore import T1VectorStore

__version__ = "0.1.0"

_MODULES = {
    "CheckpointSpec": "checkpoints.spec",
    "Document": "types",
    "Hit": "types",
    "QueryEmbedding": "types",
    "SearchResult": "types",
    "T1Embedder": "embedding.embedder",
    "T1VectorStore": "vectorstore",
    "Thought": "types",
    "default_model": "checkpoints.checkpoint",
}

__all__ = [
    "CheckpointSpec",
    "Document",
    "Hit",
    "QueryEmbedding",
    "SearchResult",
    "T1Embedder",
    "T1VectorStore",
    "Thought",
    "__version__",
    "default_model",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
