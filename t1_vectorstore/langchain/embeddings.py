"""``T1Embeddings``: T1's document and query paths as LangChain's ``Embeddings``."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from langchain_core.embeddings import Embeddings
from langchain_core.utils import secret_from_env
from pydantic import Field, PrivateAttr
from typing_extensions import Self

from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.embedding.lazy import LazyEmbedders
from t1_vectorstore.embedding.prompts import check_texts
from t1_vectorstore.embedding.thinking import merge_options
from t1_vectorstore.errors import MissingExtraError
from t1_vectorstore.keyword_options import Flag, Secret, takes_options
from t1_vectorstore.options import ModelOptions, ThinkingOptions
from t1_vectorstore.types import QueryEmbedding


class T1Embeddings(ModelOptions, ThinkingOptions, Embeddings):
    """Embeds documents in one forward pass, and queries after thinking about them; for any vector store of LangChain.

    The fields are those of ``ModelOptions`` and
    ``ThinkingOptions``. The model is loaded on first use, once, and shared by copies of
    this object. It is not pickled: an unpickled object loads it again.

    Queries and documents take different paths, so a cache must not mix them. Cache documents under ``namespace``. Never
    use ``CacheBackedEmbeddings(query_embedding_cache=True)``: it stores both under the hash of their text, and would
    answer a query with the vector of a document with the same text. To cache queries, use a separate byte store,
    ``query_embedding_cache=another_store``, and another one for each setting of the thinking options.
    """

    token: Secret | None = Field(default_factory=secret_from_env("HF_TOKEN", default=None), exclude=True)
    """Hub access token. Default: the environment variable ``HF_TOKEN``. Or the API key of a T1 service, which is by
    default ``T1_API_KEY``."""
    show_progress: Flag = False
    """Show a progress bar on standard error while documents are embedded."""

    _models: LazyEmbedders = PrivateAttr(default_factory=LazyEmbedders)

    @classmethod
    def from_embedder(cls, embedder: T1Embedder, **fields: Any) -> Self:
        """Use a model that is already loaded.

        Args:
            embedder: The model. The fields of ``ModelOptions`` do not apply to it.
            fields: Thinking options, ``truncation`` of documents added to a store, and ``show_progress``.
        """
        embeddings = cls(model=embedder.identity.model, **fields)
        embeddings._models.given = embedder
        return embeddings

    @property
    def embedder(self) -> T1Embedder:
        """The model, which is loaded on first use.

        Raises:
            CheckpointError: There is no usable checkpoint under that name.
            MissingExtraError: The ``local`` extra is not installed.
        """
        options = {name: getattr(self, name) for name in ModelOptions.model_fields}
        if "token" not in self.model_fields_set:  # the hub's client finds HF_TOKEN by itself, and a T1 service must not
            del options["token"]
        return self._models.get(ModelOptions(**options))

    @property
    def namespace(self) -> str:
        """Name of the model for caches of document vectors; it changes whenever the vectors would, and only then."""
        return f"t1-{self.embedder.identity.fingerprint[:16]}"

    def count_tokens(self, text: str) -> int:
        """Return the number of a text's tokens, as ``length_function`` of LangChain's text splitters."""
        return len(self.embedder.token_ids(text))

    def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        """Return one vector for each document, in order, as built-in floats.

        Raises:
            InvalidText: A text that is empty or not encodable.
            TextTooLong: A text over the model's limit under ``truncation="raise"``.
            BackendError: The model failed.
        """
        texts = check_texts(texts, "document")
        with progress_bar(shown=self.show_progress, total=len(texts)) as bar:
            on_done = None if bar is None else bar.update
            vectors: list[list[float]] = self.embedder.embed_documents(texts, on_done=on_done).vectors.tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of one query, as built-in floats; ``embed_query_with_thought`` also returns its thought.

        Raises:
            InvalidText: An empty query.
            BackendError: The model failed.
        """
        vector: list[float] = self.embed_query_with_thought(text).vector.tolist()
        return vector

    @takes_options(ThinkingOptions)
    def embed_query_with_thought(self, text: str, options: ThinkingOptions) -> QueryEmbedding:
        """Return the vector of one query and the thought behind it.

        Args:
            text: The query.
            options: Keyword arguments, the fields of ``ThinkingOptions``; they override
                those of this object.

        Raises:
            InvalidText: An empty query.
            ValueError: Options that contradict each other or the model.
            BackendError: The model failed.
        """
        return self.embedder.embed_query(text, **dict(merge_options(options, self)))

    async def aembed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        """``embed_documents`` in a thread."""
        return await asyncio.to_thread(self.embed_documents, texts)

    async def aembed_query(self, text: str) -> list[float]:
        """``embed_query`` in a thread."""
        return await asyncio.to_thread(self.embed_query, text)


@contextmanager
def progress_bar(*, shown: bool, total: int | None = None) -> Iterator[Any]:
    """Show a bar on standard error, and yield it; yield ``None`` if no bar is wanted.

    Raises:
        MissingExtraError: A bar is wanted, and tqdm, which comes with the ``local`` extra, is not installed.
    """
    if not shown:
        yield None
        return
    try:
        from tqdm import tqdm  # type: ignore[import-untyped]
    except ModuleNotFoundError as error:
        raise MissingExtraError("local", "show_progress=True") from error
    with tqdm(total=total, desc="embedding", unit="text") as bar:
        yield bar
