"""``T1Embedding``: T1's document and query paths as LlamaIndex's embedding model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from llama_index.core.base.embeddings.base import BaseEmbedding, Embedding
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import BaseNode, MetadataMode
from pydantic import ConfigDict, Field, PrivateAttr, field_validator
from typing_extensions import Self

from t1_vectorstore.backends import check_installed
from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.embedding.lazy import LazyEmbedders
from t1_vectorstore.embedding.thinking import merge_options
from t1_vectorstore.errors import CheckpointError, UnusableVector
from t1_vectorstore.llama_index.events import dispatch_thought
from t1_vectorstore.model_names import DEFAULT_MODEL
from t1_vectorstore.options import LoadingOptions, ModelOptions, ThinkingOptions
from t1_vectorstore.types import ModelIdentity, QueryEmbedding


class T1Embedding(LoadingOptions, ThinkingOptions, BaseEmbedding):
    """Embeds documents in one forward pass, and queries after thinking about them; for any index of LlamaIndex.

    The fields are ``model_name`` and those of ``LoadingOptions``, which are fixed, and of
    ``ThinkingOptions``, which can be changed. The checkpoint's files are read at once, for
    ``dimension`` and ``fingerprint``; the model is loaded on first use, once, and shared by copies. It is not pickled:
    an unpickled object loads it again. Each thought is dispatched as a ``T1ThoughtEvent``.

    LlamaIndex hashes the public fields into the key of an ingestion cache, so another checkpoint, prompt or dimension
    never gets the vectors of this one.

    Raises:
        CheckpointError: There is no usable checkpoint under that name.
        ValueError: An ``embeddings_cache``, which would mix queries and documents.
    """

    model_config = ConfigDict(frozen=False, validate_assignment=True)

    model_name: str = DEFAULT_MODEL
    """``t1-mini`` (bundled), a checkpoint folder, or a hub id such as ``ForwardAILabs/MRE-T1``."""
    dimension: int = 0
    """Length of a vector; read from the checkpoint."""
    fingerprint: str = ""
    """Changes whenever document vectors would; read from the checkpoint. A given one, as in the output of ``to_dict``,
    is checked when the model is loaded."""
    embed_batch_size: int = Field(default=64, gt=0, le=2048)
    """Number of texts that LlamaIndex passes at a time; the model batches them by their tokens."""

    _models: LazyEmbedders = PrivateAttr(default_factory=LazyEmbedders)

    @classmethod
    def class_name(cls) -> str:
        """Return the name that LlamaIndex stores with a serialised object."""
        return "T1Embedding"

    @classmethod
    def from_embedder(cls, embedder: T1Embedder, **fields: Any) -> Self:  # noqa: ANN401 - this class's own fields
        """Use a model that is already loaded; the fields of ``LoadingOptions`` do not apply to it."""
        identity = embedder.identity
        made = cls(model_name=identity.model, fingerprint=identity.fingerprint, dimension=identity.dimension, **fields)
        made._models.given = embedder
        return made

    def model_post_init(self, context: Any, /) -> None:  # noqa: ANN401 - pydantic's
        """Read what identifies the model from its files."""
        super().model_post_init(context)
        if not self.fingerprint:
            check_installed(self.backend)  # before gigabytes are downloaded
            checkpoint = Checkpoint.from_options(self._options)
            self.__dict__.update(dimension=checkpoint.dimension, fingerprint=checkpoint.identity.fingerprint)

    def __setattr__(self, name: str, value: Any) -> None:  # noqa: ANN401 - pydantic's
        if name in ("model_name", "dimension", "fingerprint") or name in LoadingOptions.model_fields:
            raise AttributeError(
                f"{name} is fixed, since it determines the model; create a new T1Embedding to change it"
            )
        super().__setattr__(name, value)

    @field_validator("model_name", mode="before")
    @classmethod
    def _accept_paths(cls, name: object) -> object:
        return str(name) if isinstance(name, Path) else name

    @field_validator("embeddings_cache", mode="before")
    @classmethod
    def _refuse_mixed_roles(cls, cache: object) -> object:
        if cache is not None:
            raise ValueError(
                "an embeddings_cache stores vectors under the text alone: a query would be answered with the vector of "
                "a document with the same text, or of another model. Leave it out; the cache of an IngestionPipeline "
                "is safe"
            )
        return cache

    @property
    def identity(self) -> ModelIdentity:
        """What a collection records of this model; known before the model is loaded."""
        return ModelIdentity(self.model_name, self.fingerprint, self.dimension)

    @property
    def thinking(self) -> ThinkingOptions:
        """The thinking options of this object."""
        return merge_options(self)

    @property
    def embedder(self) -> T1Embedder:
        """The model, which is loaded on first use.

        Raises:
            CheckpointError: There is no usable checkpoint under that name, or it has changed since this object was
                created.
            MissingExtraError: The ``local`` extra is not installed.
        """
        embedder = self._models.get(self._options)
        found = embedder.identity
        if (found.fingerprint, found.dimension) != (self.fingerprint, self.dimension):
            raise CheckpointError(
                f"{self.model_name!r} is now {found}, and not the model that this T1Embedding was created for: "
                f"{self.identity}. Restore that checkpoint, or create a new T1Embedding and index again"
            )
        return embedder

    def embed_query(self, text: str) -> QueryEmbedding:
        """Return the vector of one query with its thought, which is not dispatched as an event.

        Raises:
            InvalidText: An empty query.
            ValueError: Thinking options that contradict each other or the model.
            BackendError: The model failed.
        """
        return self.embedder.embed_query(text, **dict(self.thinking))

    def splitter(self, chunk_size: int = 256, chunk_overlap: int = 0, **options: Any) -> SentenceSplitter:  # noqa: ANN401
        """Return a node parser that counts this model's tokens, so that it reads each node as a whole.

        Args:
            chunk_size: Maximum number of tokens of a node, with the metadata that is embedded.
            chunk_overlap: Number of tokens that a node repeats of the one before.
            options: Further arguments of LlamaIndex's ``SentenceSplitter``.

        Raises:
            ValueError: ``chunk_size`` is more than the model reads.
        """
        limit = self.embedder.spec.max_document_tokens
        if chunk_size > limit:
            raise ValueError(f"chunk_size={chunk_size} is more than the {limit} tokens that {self.model_name!r} reads")
        return SentenceSplitter(
            chunk_size=chunk_size, chunk_overlap=chunk_overlap, tokenizer=self.embedder.token_ids, **options
        )

    def to_payload(self) -> dict[str, Any]:
        """Return what observers see of this model; it contains no secrets."""
        return {**super().to_payload(), "fingerprint": self.fingerprint, "dimension": self.dimension}

    def get_agg_embedding_from_queries(
        self, queries: list[str], agg_fn: Callable[..., Embedding] | None = None
    ) -> Embedding:
        """Return one vector for several phrasings of a query: by default their normalised mean."""
        return super().get_agg_embedding_from_queries(queries, agg_fn or mean_direction)

    async def aget_agg_embedding_from_queries(
        self, queries: list[str], agg_fn: Callable[..., Embedding] | None = None
    ) -> Embedding:
        """``get_agg_embedding_from_queries`` without blocking the event loop."""
        return await super().aget_agg_embedding_from_queries(queries, agg_fn or mean_direction)

    def __call__(self, nodes: Sequence[BaseNode], **kwargs: Any) -> Sequence[BaseNode]:  # noqa: ANN401 - LlamaIndex's
        """Embed nodes, as a step of an ``IngestionPipeline``.

        Raises:
            UnusableVector: The model gave no finite vector for some nodes; the message names them.
        """
        with _naming(nodes):
            return super().__call__(nodes, **kwargs)

    async def acall(self, nodes: Sequence[BaseNode], **kwargs: Any) -> Sequence[BaseNode]:  # noqa: ANN401 - LlamaIndex's
        """``__call__`` without blocking the event loop."""
        with _naming(nodes):
            return await super().acall(nodes, **kwargs)

    def _get_query_embedding(self, query: str) -> Embedding:
        return _dispatched(self.embed_query(query))

    async def _aget_query_embedding(self, query: str) -> Embedding:
        return _dispatched(await asyncio.to_thread(self.embed_query, query))

    def _get_text_embedding(self, text: str) -> Embedding:
        return self._get_text_embeddings([text])[0]

    async def _aget_text_embedding(self, text: str) -> Embedding:
        return await asyncio.to_thread(self._get_text_embedding, text)

    def _get_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        try:
            vectors: list[Embedding] = self.embedder.embed_documents(texts).vectors.tolist()
        except UnusableVector as error:  # LlamaIndex embeds in batches, so the texts say more than their positions
            found = [texts[index] for index in error.indexes]
            raise _UnusableTexts(
                f"{error}: {', '.join(f'{text[:80]!r}' for text in found[:10])}", error, found
            ) from error
        return vectors

    async def _aget_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return await asyncio.to_thread(self._get_text_embeddings, texts)

    @property
    def _options(self) -> ModelOptions:
        return ModelOptions(
            model=self.model_name, **{name: getattr(self, name) for name in LoadingOptions.model_fields}
        )

    def __getstate__(self) -> dict[str, Any]:
        self._models.check_picklable()  # LlamaIndex would leave out whatever cannot be pickled
        return super().__getstate__()


def mean_direction(vectors: Sequence[Embedding]) -> Embedding:
    """Return the mean of unit vectors, scaled to unit length. LlamaIndex's own mean is shorter, which lowers scores.

    Raises:
        ValueError: No vectors, or their sum is zero.
    """
    mean = np.mean(np.asarray(vectors, dtype=np.float64), axis=0) if vectors else np.zeros(1)
    length = float(np.linalg.norm(mean))
    if not length > 0:
        raise ValueError(f"{len(vectors)} query vectors have no mean direction; use fewer phrasings, or a single one")
    scaled: Embedding = (mean / length).tolist()
    return scaled


class _UnusableTexts(UnusableVector):
    """``texts`` gave no finite vector."""

    def __init__(self, message: str, error: UnusableVector, texts: list[str]) -> None:
        super().__init__(message, error.indexes)
        self.texts = texts

    def __reduce__(self) -> Any:  # noqa: ANN401 - pickle's
        return UnusableVector, (str(self), self.indexes)


@contextmanager
def _naming(nodes: Sequence[BaseNode]) -> Iterator[None]:
    """Name the nodes of texts that gave no finite vector."""
    try:
        yield
    except _UnusableTexts as error:
        bad = set(error.texts)
        indexes = [index for index, node in enumerate(nodes) if node.get_content(MetadataMode.EMBED) in bad]
        ids = ", ".join(repr(nodes[index].node_id) for index in indexes[:10])
        raise UnusableVector(f"nothing was embedded, because of the nodes {ids}: {error}", indexes) from error


def _dispatched(embedding: QueryEmbedding) -> Embedding:
    dispatch_thought(embedding.query, embedding.thoughts, embedding.seconds)
    vector: Embedding = embedding.vector.tolist()
    return vector
