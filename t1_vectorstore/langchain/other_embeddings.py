"""Embeddings of other packages, and none at all, in the place of a T1 model."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Mapping
from typing import Any

import numpy as np
from langchain_core.embeddings import Embeddings

from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.errors import UnusableVector
from t1_vectorstore.types import DocumentEmbeddings, ModelIdentity, QueryEmbedding, Truncation

_PROBE = "dimension"
_NAME_FIELDS = ("model", "model_name", "model_id", "deployment")


class OtherEmbedder(T1Embedder):
    """What a store needs of a model, by the two methods of LangChain's ``Embeddings``. It has no thoughts.

    A collection records the name of the model, if the embeddings have one, or else that of their class.
    """

    def __init__(self, embedding: Embeddings | None) -> None:
        """Embed one text, to learn the dimension; ``None`` stands for sparse vectors only."""
        self._embedding = embedding
        if embedding is None:
            self.identity = ModelIdentity("(sparse vectors only)", "sparse", 0)
            return
        name = next((str(name) for field in _NAME_FIELDS if (name := getattr(embedding, field, None))), "")
        name = name or type(embedding).__name__
        fingerprint = hashlib.sha256(f"langchain {name}".encode()).hexdigest()
        self.identity = ModelIdentity(name, fingerprint, len(embedding.embed_documents([_PROBE])[0]))

    def excess_tokens(self, text: str) -> int:
        """Return 0: what these embeddings leave out is not known."""
        return 0

    def embed_documents(
        self,
        texts: Iterable[str],
        *,
        truncation: Truncation | None = None,
        on_done: Callable[[int], None] | None = None,
    ) -> DocumentEmbeddings:
        """Embed documents with one call.

        Raises:
            UnusableVector: A vector is not finite.
        """
        started = time.perf_counter()
        texts = list(texts)
        if self._embedding is None:
            vectors = np.empty((len(texts), 0), np.float32)
        else:
            vectors = np.asarray(self._embedding.embed_documents(texts), np.float32)
        if unusable := [int(index) for index in np.flatnonzero(~np.isfinite(vectors).all(axis=1))]:
            raise UnusableVector(f"{self.identity.model} gives no finite vector for {len(unusable)} texts", unusable)
        if on_done is not None:
            on_done(len(texts))
        return DocumentEmbeddings(vectors, 0, time.perf_counter() - started)

    def embed_query(self, text: str, **options: Any) -> QueryEmbedding:
        """Embed a query.

        Raises:
            TypeError: An option of thinking.
        """
        _refuse_thinking(self.identity.model, options)
        started = time.perf_counter()
        vector = [] if self._embedding is None else self._embedding.embed_query(text)
        return QueryEmbedding(text, np.asarray(vector, np.float32), (), time.perf_counter() - started)

    async def aembed_query(self, text: str, **options: Any) -> QueryEmbedding:
        """``embed_query`` in a thread."""
        return await asyncio.to_thread(self.embed_query, text, **options)

    def stream_query(self, text: str, **options: Any) -> Generator[str | QueryEmbedding, None, None]:
        """Yield the embedding, as there is no thought."""
        yield self.embed_query(text, **options)

    async def astream_query(self, text: str, **options: Any) -> AsyncGenerator[str | QueryEmbedding, None]:
        """Yield the embedding, as there is no thought."""
        yield await self.aembed_query(text, **options)

    def check_query(self, text: str, **options: Any) -> None:
        """Refuse options of thinking; arguments and errors as in ``embed_query``."""
        _refuse_thinking(self.identity.model, options)

    def close(self) -> None:
        """Do nothing: the embeddings are the caller's."""


def _refuse_thinking(model: str, options: Mapping[str, Any]) -> None:
    if given := [name for name, value in options.items() if value is not None]:
        raise TypeError(f"{given[0]}={options[given[0]]!r} needs T1Embeddings; {model} has no thoughts")
