"""``T1Embedding``: T1's two paths as LlamaIndex's embedding model."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from llama_index.core.base.embeddings.base import BaseEmbedding, Embedding
from pydantic import ConfigDict, Field, PrivateAttr, SecretStr, field_validator
from typing_extensions import Self

from t1_vectorstore.backends.options import check_installed, known_fingerprint
from t1_vectorstore.checkpoint import Checkpoint
from t1_vectorstore.embedder import T1Embedder
from t1_vectorstore.errors import CheckpointError
from t1_vectorstore.llama_index.events import tell
from t1_vectorstore.specification import MOST_REFINE_STEPS, Aggregation
from t1_vectorstore.thinking import ThinkingOptions, settled
from t1_vectorstore.types import BackendName, ModelIdentity, QueryEmbedding, Truncation


class T1Embedding(BaseEmbedding):
    """Documents by one prefill, queries after a thought; for any index or pipeline of LlamaIndex.

    The checkpoint's files are read at once, for ``dimension`` and ``fingerprint``; the model is loaded on first use,
    once, and shared by copies. It is not pickled: what is unpickled elsewhere loads it there. Each thought is
    dispatched as a ``T1ThoughtEvent``.

    The public fields are what LlamaIndex hashes into the key of an ingestion cache, so that another checkpoint, prompt
    or dimension never gets the vectors of this one.

    Raises:
        CheckpointError: nothing usable under that name.
        ValueError: an ``embeddings_cache``, which would mix queries and documents.
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    model_name: str = Field(default="t1-mini", frozen=True)
    """``t1-mini`` (bundled), a folder, or a hub id such as ``ForwardAILabs/MRE-T1``."""
    preset: str | None = Field(default=None, frozen=True)
    """The hub id whose preset describes a folder that has no ``t1_config.json``."""
    revision: str | None = Field(default=None, frozen=True)
    """Branch, tag or commit of a hub id."""
    token: SecretStr | None = Field(default=None, frozen=True, exclude=True)
    """Hub access token; it is in no dump."""
    overrides: dict[str, Any] | None = Field(default=None, frozen=True)
    """Fields of the checkpoint's specification to change, such as ``{"truncate_dim": 256}``."""
    device: str = Field(default="auto", frozen=True)
    """``auto`` takes a GPU where there is one; else as torch names it."""
    devices: list[str] | None = Field(default=None, frozen=True)
    """Several for documents, in place of ``device``."""
    dtype: str = Field(default="auto", frozen=True)
    """``auto``, ``float32``, ``bfloat16`` or ``float16``."""
    batch_tokens: int | None = Field(default=None, ge=1, frozen=True)
    """Tokens of a forward pass; less takes less memory."""
    threads: int | None = Field(default=None, ge=1, frozen=True)
    """Of a CPU, while the model runs."""
    remote_code: bool = Field(default=False, frozen=True)
    """Run the checkpoint's own Python code; off, because it can do anything."""
    backend: BackendName = Field(default="transformers", frozen=True)
    """What runs the model: ``transformers``, ``vllm``, or ``remote``, vLLM servers."""
    engine_options: dict[str, Any] | None = Field(default=None, frozen=True, exclude=True, repr=False)
    """Of ``vllm`` and ``remote``; see ``T1Embedder.load``. They may hold a key, and are in no dump."""
    truncation: Truncation = Field(default="warn", frozen=True)
    """What happens to a text over the model's limit."""
    dimension: int = Field(default=0, frozen=True)
    """Length of a vector; filled in from the checkpoint."""
    fingerprint: str = Field(default="", frozen=True)
    """Changes whenever document vectors would; filled in from the checkpoint. One that is given, as in what
    ``to_dict`` saved, is checked when the model is loaded."""
    think: bool | None = None
    """Whether queries are thought about; ``None`` for what the model was made for."""
    budget: int | None = Field(default=None, ge=0)
    """Most tokens of a thought."""
    deadline: float | None = Field(default=None, gt=0)
    """Seconds after which a thought is closed as it stands."""
    samples: int | None = Field(default=None, ge=1)
    """How many thoughts about a query, if they are sampled; the vector is the mean of theirs."""
    task: str | None = None
    """One of the checkpoint's task instructions."""
    refine_steps: int | None = Field(default=None, ge=0, le=MOST_REFINE_STEPS, strict=True)
    """Passes in hidden space after a thought; see ``T1Embedder.embed_queries``."""
    refine: Aggregation | None = None
    """How their states become the vector, ``mean`` or ``last``."""
    embed_batch_size: int = Field(default=64, gt=0, le=2048)
    """Texts that LlamaIndex hands over at a time; the model packs them by their tokens."""

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
            checkpoint = Checkpoint.load(
                self.model_name,
                preset=self.preset,
                revision=self.revision,
                token=self._secret,
                overrides=self.overrides,
                remote_code=self.remote_code,
                fingerprint=known_fingerprint(self.backend, self.engine_options),
            )
            self.__dict__.update(dimension=checkpoint.dimension, fingerprint=checkpoint.identity.fingerprint)

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
        return settled({name: getattr(self, name) for name in ThinkingOptions.__annotations__})

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
        return self.embedder.embed_query(text, **self.thinking)

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
        return _told(self.embed_query(query))

    async def _aget_query_embedding(self, query: str) -> Embedding:
        return _told(await asyncio.to_thread(self.embed_query, query))

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
    def _secret(self) -> str | None:
        return self.token.get_secret_value() if self.token else None

    def _load(self) -> T1Embedder:
        embedder = T1Embedder.load(
            self.model_name,
            preset=self.preset,
            revision=self.revision,
            token=self._secret,
            overrides=self.overrides,
            device=self.device,
            devices=self.devices,
            dtype=self.dtype,
            batch_tokens=self.batch_tokens,
            threads=self.threads,
            truncation=self.truncation,
            remote_code=self.remote_code,
            backend=self.backend,
            engine_options=self.engine_options,
        )
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


def _told(embedding: QueryEmbedding) -> Embedding:
    tell(embedding.query, embedding.thoughts, embedding.seconds)
    vector: Embedding = embedding.vector.tolist()
    return vector
