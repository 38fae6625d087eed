"""``T1Embedding``: T1's two paths as LlamaIndex's embedding model."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from llama_index.core.base.embeddings.base import BaseEmbedding, Embedding
from pydantic import ConfigDict, Field, PrivateAttr, field_validator
from typing_extensions import Self

from t1_vectorstore.backends import check_installed
from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.embedding.thinking import merge_options
from t1_vectorstore.errors import CheckpointError
from t1_vectorstore.llama_index.events import dispatch_thought
from t1_vectorstore.options import DEFAULT_MODEL, LoadingOptions, ModelOptions, ThinkingOptions
from t1_vectorstore.types import ModelIdentity, QueryEmbedding


class T1Embedding(LoadingOptions, ThinkingOptions, BaseEmbedding):
    """Embeds documents with one prefill, and queries after thinking about them; for any index or pipeline of LlamaIndex.

    The fields are ``model_name`` and those of :class:`~t1_vectorstore.options.LoadingOptions`, which are fixed, and of
    :class:`~t1_vectorstore.options.ThinkingOptions`, which can be changed. The checkpoint's files are read at once, for
    ``dimension`` and ``fingerprint``; the model is loaded on first use, once, and shared by copies. It is not pickled:
    an unpickled object loads it again. Each thought is dispatched as a ``T1ThoughtEvent``.

    LlamaIndex hashes the public fields into the key of an ingestion cache, so another checkpoint, prompt or dimension
    never gets the vectors of this one.

    Raises:
        CheckpointError: Nothing usable under that name.
        ValueError: An ``embeddings_cache``, which would mix queries and documents.
    """

    model_config = ConfigDict(frozen=False, validate_assignment=True)

    model_name: str = DEFAULT_MODEL
    """``t1-mini`` (bundled), a checkpoint folder, or a hub id such as ``ForwardAILabs/MRE-T1``."""
    dimension: int = Field(default=0, frozen=True)
    """Length of a vector; read from the checkpoint."""
    fingerprint: str = Field(default="", frozen=True)
    """Changes whenever document vectors would; read from the checkpoint. A given one, as in the output of ``to_dict``,
    is checked when the model is loaded."""
    embed_batch_size: int = Field(default=64, gt=0, le=2048)
    """Number of texts that LlamaIndex passes at a time; the model batches them by their tokens."""

    _model: _Model = PrivateAttr(default_factory=lambda: _Model())

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex files it."""
        return "T1Embedding"

    @classmethod
    def from_embedder(cls, embedder: T1Embedder, **fields: Any) -> Self:  # noqa: ANN401 - this class's own fields
        """Use a model that is loaded already; the fields that say how one is loaded do not apply to it."""
        identity = embedder.identity
        made = cls(model_name=identity.model, fingerprint=identity.fingerprint, dimension=identity.dimension, **fields)
        made._model.given = embedder
        return made

    def model_post_init(self, context: Any, /) -> None:  # noqa: ANN401 - pydantic's
        """Fill in what identifies the model, from its files."""
        super().model_post_init(context)
        if not self.fingerprint:
            check_installed(self.backend)  # before gigabytes are downloaded
            checkpoint = Checkpoint.from_options(self._options)
            self.__dict__.update(dimension=checkpoint.dimension, fingerprint=checkpoint.identity.fingerprint)

    def __setattr__(self, name: str, value: Any) -> None:  # noqa: ANN401 - pydantic's
        if name == "model_name" or name in LoadingOptions.model_fields:
            raise AttributeError(
                f"{name} decides which model is loaded, and how; create a new T1Embedding to change it"
            )
        super().__setattr__(name, value)

    @field_validator("model_name", mode="before")
    @classmethod
    def _take_paths(cls, name: object) -> object:
        return str(name) if isinstance(name, Path) else name

    @field_validator("embeddings_cache", mode="before")
    @classmethod
    def _refuse_mixed_roles(cls, cache: object) -> object:
        if cache is not None:
            raise ValueError(
                "an embeddings_cache files vectors under the text alone: a query would be answered with the vector of "
                "a document of the same words, or of another model. Leave it out; an IngestionPipeline's cache is safe"
            )
        return cache

    @property
    def identity(self) -> ModelIdentity:
        """What a collection remembers of this model; known before the model is loaded."""
        return ModelIdentity(self.model_name, self.fingerprint, self.dimension)

    @property
    def thinking(self) -> ThinkingOptions:
        """The thinking options of this object, as the embedder takes them."""
        return merge_options(self)

    @property
    def embedder(self) -> T1Embedder:
        """The model behind this object, loaded now if it was not yet.

        Raises:
            CheckpointError: nothing usable under that name, or another checkpoint than when this object was made.
            MissingExtraError: the ``local`` extra is not installed.
        """
        return self._model.get(self._load)

    def embed_query(self, text: str) -> QueryEmbedding:
        """The vector of one query with its thought, which is not dispatched but returned.

        Raises:
            InvalidText: an empty query.
            ValueError: thinking options that contradict each other or the model.
            BackendError: the model failed.
        """
        return self.embedder.embed_query(text, **dict(self.thinking))

    def to_payload(self) -> dict[str, Any]:
        """What observers are told of this model; no secrets."""
        return {**super().to_payload(), "fingerprint": self.fingerprint, "dimension": self.dimension}

    def get_agg_embedding_from_queries(
        self, queries: list[str], agg_fn: Callable[..., Embedding] | None = None
    ) -> Embedding:
        """One vector for several phrasings of a query: their mean direction, of unit length."""
        return super().get_agg_embedding_from_queries(queries, agg_fn or mean_direction)

    async def aget_agg_embedding_from_queries(
        self, queries: list[str], agg_fn: Callable[..., Embedding] | None = None
    ) -> Embedding:
        """The same, off the event loop."""
        return await super().aget_agg_embedding_from_queries(queries, agg_fn or mean_direction)

    def _get_query_embedding(self, query: str) -> Embedding:
        return _dispatched(self.embed_query(query))

    async def _aget_query_embedding(self, query: str) -> Embedding:
        return _dispatched(await asyncio.to_thread(self.embed_query, query))

    def _get_text_embedding(self, text: str) -> Embedding:
        return self._get_text_embeddings([text])[0]

    async def _aget_text_embedding(self, text: str) -> Embedding:
        return await asyncio.to_thread(self._get_text_embedding, text)

    def _get_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        vectors: list[Embedding] = self.embedder.embed_documents(texts).vectors.tolist()
        return vectors

    async def _aget_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return await asyncio.to_thread(self._get_text_embeddings, texts)

    @property
    def _options(self) -> ModelOptions:
        return ModelOptions(
            model=self.model_name, **{name: getattr(self, name) for name in LoadingOptions.model_fields}
        )

    def _load(self) -> T1Embedder:
        embedder = T1Embedder.from_options(self._options)
        found = embedder.identity
        if (found.fingerprint, found.dimension) != (self.fingerprint, self.dimension):
            raise CheckpointError(
                f"{self.model_name!r} is now {found}, and not the model that this T1Embedding was made for: "
                f"{self.identity}. Restore that checkpoint, or make a new T1Embedding and index again"
            )
        return embedder

    def __getstate__(self) -> dict[str, Any]:
        if self._model.given is not None:
            raise TypeError(
                "made by from_embedder: the model in memory cannot be pickled; name it, T1Embedding(model_name=...)"
            )
        return super().__getstate__()


class _Model:
    """The model of one ``T1Embedding``: loaded once, shared by copies, left behind by pickles."""

    def __init__(self) -> None:
        self.given: T1Embedder | None = None
        self._loaded: T1Embedder | None = None
        self._lock = threading.Lock()

    def get(self, load: Callable[[], T1Embedder]) -> T1Embedder:
        if self.given is not None:
            return self.given
        with self._lock:
            if self._loaded is None:
                self._loaded = load()
            return self._loaded

    def __deepcopy__(self, memo: dict[int, Any]) -> _Model:
        return self

    def __reduce__(self) -> tuple[type[_Model], tuple[()]]:
        return _Model, ()


def mean_direction(vectors: Sequence[Embedding]) -> Embedding:
    """The mean of unit vectors, brought back to unit length: LlamaIndex's own mean is shorter, and scores with it.

    Raises:
        ValueError: there is none: no vectors, or they cancel out.
    """
    mean = np.mean(np.asarray(vectors, dtype=np.float64), axis=0) if vectors else np.zeros(1)
    length = float(np.linalg.norm(mean))
    if not length > 0:
        raise ValueError(f"{len(vectors)} query vectors have no mean direction; ask with fewer phrasings, or with one")
    direction: Embedding = (mean / length).tolist()
    return direction


def _dispatched(embedding: QueryEmbedding) -> Embedding:
    dispatch_thought(embedding.query, embedding.thoughts, embedding.seconds)
    vector: Embedding = embedding.vector.tolist()
    return vector
