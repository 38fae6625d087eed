"""LangChain's standard tests, unchanged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from langchain_tests.integration_tests import (
    EmbeddingsIntegrationTests,
    RetrieversIntegrationTests,
    VectorStoreIntegrationTests,
)
from langchain_tests.unit_tests import EmbeddingsUnitTests

from t1_vectorstore.langchain import T1Embeddings, T1QdrantVectorStore, T1Retriever
from tests.langchain_adapter.conftest import DOCUMENTS


class TestEmbeddingsUnit(EmbeddingsUnitTests):
    @property
    def embeddings_class(self) -> type[T1Embeddings]:
        return T1Embeddings

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        return {"HF_TOKEN": "secret"}, {"model": "ForwardAILabs/MRE-T1"}, {"token": "secret"}


class TestEmbeddings(EmbeddingsIntegrationTests):
    """Use the bundled model, which is the default."""

    @property
    def embeddings_class(self) -> type[T1Embeddings]:
        return T1Embeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"budget": 8}


class TestVectorStore(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, empty: T1QdrantVectorStore) -> T1QdrantVectorStore:  # type: ignore[override]
        return empty


class TestRetriever(RetrieversIntegrationTests):
    """Use the bundled model, on each engine."""

    @pytest.fixture(autouse=True)
    def _store(self, place: dict[str, Any]) -> Iterator[None]:
        with T1QdrantVectorStore.from_documents(DOCUMENTS, T1Embeddings(), **place) as self.store:
            yield

    @property
    def retriever_constructor(self) -> type[T1Retriever]:
        return T1Retriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"vectorstore": self.store}

    @property
    def retriever_query_example(self) -> str:
        return "what grows in France"
