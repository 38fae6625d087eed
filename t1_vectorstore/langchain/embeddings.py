"""``T1Embeddings``: T1's two paths as LangChain's ``Embeddings``."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from langchain_core.embeddings import Embeddings
from langchain_core.utils import secret_from_env
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr
from typing_extensions import Self, Unpack

from t1_vectorstore.asking import Asking
from t1_vectorstore.embedder import T1Embedder
from t1_vectorstore.langchain.progress import ProgressBar
from t1_vectorstore.prompts import check_texts
from t1_vectorstore.specification import MOST_REFINE_STEPS, Aggregation
from t1_vectorstore.thinking import ThinkingOptions, settled
from t1_vectorstore.types import BackendName, QueryEmbedding, Truncation

_LOADING = (
    *("preset", "revision", "overrides", "device", "devices", "dtype", "batch_tokens", "threads"),
    *("truncation", "remote_code", "backend", "engine_options"),
)
"""The fields that say which model is loaded, and how."""


class T1Embeddings(BaseModel, Embeddings):
    """Documents by one prefill, queries after a thought; for any vector store of LangChain.

    The model is loaded on first use, once, and is shared by copies of this object. It is not pickled: what was
    unpickled elsewhere loads it there.

    Queries and documents take different paths, so a cache must not mix them. Cache documents under ``namespace``, and
    leave ``CacheBackedEmbeddings(query_embedding_cache=True)`` alone: it files both under the hash of their text only,
    and would answer a query with the vector of a document of the same words. If queries must be cached, give them a
    byte store of their own, ``query_embedding_cache=another_store``, one for each setting of the thinking options.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str | Path = "t1-mini"
    """``t1-mini`` (bundled), a folder, or a hub id such as ``ForwardAILabs/MRE-T1``."""
    preset: str | None = None
    """The hub id whose preset describes a folder that has no ``t1_config.json``."""
    revision: str | None = None
    """Branch, tag or commit of a hub id."""
    token: SecretStr | None = Field(default_factory=secret_from_env("HF_TOKEN", default=None))
    """Hub access token; ``HF_TOKEN`` of the environment when not given."""
    overrides: dict[str, Any] | None = None
    """Fields of the checkpoint's specification to change, such as ``{"truncate_dim": 256}``."""
    device: str = "auto"
    """``auto`` takes a GPU where there is one; else as torch names it."""
    devices: list[str] | None = None
    """Several for documents, in place of ``device``."""
    dtype: str = "auto"
    """``auto``, ``float32``, ``bfloat16`` or ``float16``."""
    batch_tokens: int | None = Field(default=None, ge=1)
    """Tokens of a forward pass; less takes less memory. ``None``: the backend's own."""
    threads: int | None = Field(default=None, ge=1)
    """Of a CPU, while the model runs."""
    truncation: Truncation = "warn"
    """What happens to a text over the model's limit."""
    remote_code: bool = False
    """Run the checkpoint's own Python code; off, because it can do anything."""
    backend: BackendName = "transformers"
    """What runs the model: ``transformers``, ``vllm``, or ``remote``, vLLM servers."""
    engine_options: dict[str, Any] | None = Field(default=None, repr=False)
    """Of ``vllm`` and ``remote``; see ``T1Embedder.load``."""
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
    show_progress: bool = False
    """Show a bar on standard error while documents are embedded."""

    _models: _Models = PrivateAttr(default_factory=lambda: _Models())

    @classmethod
    def from_embedder(cls, embedder: T1Embedder, **fields: Any) -> Self:  # noqa: ANN401 - this class's own fields
        """Use a model that is loaded already.

        Args:
            embedder: the model. The fields that say how one is loaded do not apply to it.
            fields: thinking options, ``truncation`` of what is added to a store, ``show_progress``.
        """
        embeddings = cls(model=embedder.identity.model, **fields)
        embeddings._models.given = embedder
        return embeddings

    @property
    def embedder(self) -> T1Embedder:
        """The model behind this object, loaded now if it was not yet.

        Raises:
            CheckpointError: nothing usable under that name.
            MissingExtraError: the ``local`` extra is not installed.
        """
        options = {name: getattr(self, name) for name in _LOADING}
        token = self.token.get_secret_value() if self.token else None
        key = json.dumps([str(self.model), options], sort_keys=True, default=repr)
        return self._models.get(key, lambda: T1Embedder.load(self.model, token=token, **options))

    @property
    def namespace(self) -> str:
        """Names the model for caches of document vectors: it changes whenever those would, and only then."""
        return f"t1-{self.embedder.identity.fingerprint[:16]}"

    def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        """One vector for each document, in order, as built-in floats.

        Raises:
            InvalidText: a text that is empty or not encodable.
            TextTooLong: a text over the model's limit under ``truncation="raise"``.
            BackendError: the model failed.
        """
        texts = check_texts(texts, "document")
        with ProgressBar(shown=self.show_progress, total=len(texts)) as bar:
            vectors: list[list[float]] = self.embedder.embed_documents(texts, on_done=bar.by).vectors.tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """The vector of one query, as built-in floats; its thought is told by ``embed_query_with_thought``.

        Raises:
            InvalidText: an empty query.
            BackendError: the model failed.
        """
        vector: list[float] = self.embed_query_with_thought(text).vector.tolist()
        return vector

    def embed_query_with_thought(self, text: str, **options: Unpack[ThinkingOptions]) -> QueryEmbedding:
        """The vector of one query and the thought it came from; options given here go before this object's.

        Raises:
            InvalidText: an empty query.
            ValueError: options that contradict each other or the model.
            BackendError: the model failed.
        """
        return self.embedder.embed_query(text, **self.thinking(options))

    async def aembed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        """``embed_documents`` in a thread: the event loop goes on."""
        return await asyncio.to_thread(self.embed_documents, texts)

    async def aembed_query(self, text: str) -> list[float]:
        """``embed_query`` in a thread: the event loop goes on."""
        return await asyncio.to_thread(self.embed_query, text)

    def thinking(self, given: ThinkingOptions | Asking) -> ThinkingOptions:
        """The thinking options of one call: those given, else this object's; see ``thinking.settled``."""
        return settled(given, {name: getattr(self, name) for name in ThinkingOptions.__annotations__})


class _Models:
    """The models that one ``T1Embeddings`` and its copies have loaded: shared by copies, left behind by pickles."""

    def __init__(self) -> None:
        self.given: T1Embedder | None = None
        self._loaded: dict[str, T1Embedder] = {}
        self._lock = threading.Lock()

    def get(self, key: str, load: Callable[[], T1Embedder]) -> T1Embedder:
        if self.given is not None:
            return self.given
        with self._lock:
            if key not in self._loaded:
                self._loaded[key] = load()
            return self._loaded[key]

    def __deepcopy__(self, memo: dict[int, Any]) -> _Models:
        return self

    def __eq__(self, other: object) -> bool:
        """Two objects with equal fields are equal, whichever of them has loaded its model."""
        return isinstance(other, _Models) and self.given is other.given

    def __hash__(self) -> int:
        return id(self.given)

    def __reduce__(self) -> tuple[type[_Models], tuple[()]]:
        if self.given is not None:
            raise TypeError(
                "made by from_embedder: the model in memory cannot be pickled; name it, T1Embeddings(model=...)"
            )
        return _Models, ()
