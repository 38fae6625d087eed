"""The core: text in, vectors and thoughts out, by T1's two asymmetric paths."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import Self, Unpack

from t1_vectorstore import thinking
from t1_vectorstore.backends import Backend, load_backend
from t1_vectorstore.backends.options import check_options, known_fingerprint
from t1_vectorstore.checkpoint import Checkpoint, CheckpointSpec
from t1_vectorstore.pooling import to_vectors
from t1_vectorstore.prompts import Prompter, check_texts
from t1_vectorstore.querying import Queries
from t1_vectorstore.thinking import ThinkingOptions
from t1_vectorstore.truncation import check_policy, truncated
from t1_vectorstore.types import (
    BackendName,
    DocumentEmbeddings,
    ModelIdentity,
    QueryEmbedding,
    Truncation,
)


class T1Embedder:
    """Embeds documents with one prefill each, and queries after thinking about them.

    Safe to share between threads: the same text gives the same vector whoever asks, in whatever batch.
    """

    def __init__(
        self,
        prompter: Prompter,
        backend: Backend,
        identity: ModelIdentity,
        *,
        truncation: Truncation = "warn",
        max_positions: int | None = None,
    ) -> None:
        """Join parts made elsewhere; :meth:`load` makes them from a checkpoint's name.

        Raises:
            ValueError: an unknown truncation policy.
        """
        self._truncation = check_policy(truncation)
        self._prompter = prompter
        self._backend = backend
        self._max_positions = max_positions
        self.identity = identity
        """What a collection remembers of this model."""

    @classmethod
    def load(
        cls,
        model: str | Path = "t1-mini",
        *,
        preset: str | None = None,
        revision: str | None = None,
        token: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        device: str = "auto",
        devices: Sequence[str] | None = None,
        dtype: str = "auto",
        batch_tokens: int | None = None,
        threads: int | None = None,
        truncation: Truncation = "warn",
        remote_code: bool = False,
        backend: BackendName = "transformers",
        engine_options: Mapping[str, Any] | None = None,
    ) -> T1Embedder:
        """Load a checkpoint, and start what runs it.

        Args:
            model: ``t1-mini`` (bundled), a folder, or a hub id such as ``ForwardAILabs/MRE-T1``.
            preset: the hub id whose preset describes a folder that has no ``t1_config.json``.
            revision: branch, tag or commit of a hub id.
            token: hub access token.
            overrides: fields of the checkpoint's specification to change, such as ``{"truncate_dim": 256}``.
            device: ``auto`` takes a GPU where there is one; else as torch names it.
            devices: several for documents, such as ``["cuda:0", "cuda:1"]``, in place of ``device``; queries take the
                first. Each other one has a process of its own, which :meth:`close` ends.
            dtype: ``auto`` takes bfloat16 where the device computes in it; else ``float32``, ``bfloat16``, ``float16``.
            batch_tokens: tokens of a forward pass; less takes less memory.
            threads: of a CPU, while the model runs; ``None`` takes one for a small model, else torch's own number.
            truncation: what happens to a text over the limit: ``raise``, ``warn`` or ``allow``.
            remote_code: run the checkpoint's own Python code; off, because it can do anything.
            backend: ``transformers`` or ``vllm`` in this process, or ``remote``: vLLM servers.
            engine_options: of ``vllm``, its engine arguments, such as ``{"tensor_parallel_size": 2}``; of ``remote``,
                the fields of :class:`~t1_vectorstore.backends.remote.Servers`. There ``device``, ``batch_tokens`` and
                ``threads`` have no meaning and are refused.

        Raises:
            CheckpointError: nothing usable under that name, or not with this backend.
            BackendError: the servers cannot be reached, or have another model.
            MissingExtraError: what the backend needs is not installed.
            ValueError: a value that an option does not take, or a device that is not here; before any download.
            TypeError: a value of another type.
        """
        check_policy(truncation)
        local: dict[str, Any] = {"device": device, "devices": devices, "batch_tokens": batch_tokens, "threads": threads}
        check_options(backend, dtype=dtype, engine_options=engine_options, **local)
        checkpoint = Checkpoint.load(
            model,
            preset=preset,
            revision=revision,
            token=token,
            overrides=overrides,
            remote_code=remote_code,
            fingerprint=known_fingerprint(backend, engine_options),
        )
        thinking.check_room(checkpoint, checkpoint.max_positions)
        prompter = Prompter.load(checkpoint)
        identity = checkpoint.identity  # reads the weights: a damaged folder fails before torch is loaded
        runner = load_backend(
            backend,
            checkpoint,
            stop_ids=prompter.stop_ids,
            dtype=dtype,
            remote_code=remote_code,
            engine_options=engine_options,
            **local,
        )
        room = getattr(runner, "max_positions", None) or checkpoint.max_positions
        return cls(prompter, runner, identity, truncation=truncation, max_positions=room)

    @classmethod
    def fake(cls, dimension: int = 64, *, truncation: Truncation = "warn") -> T1Embedder:
        """An embedder without a model: deterministic, instant, no proof of quality. For tests of what is around it."""
        from t1_vectorstore.backends.fake import SPEC, FakeBackend, byte_tokenizer, identity

        prompter = Prompter(byte_tokenizer(), SPEC)
        return cls(prompter, FakeBackend(dimension), identity(dimension), truncation=truncation)

    def close(self) -> None:
        """End the engine of a server, or the processes of several devices; a single local model has nothing to end."""
        self._backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def spec(self) -> CheckpointSpec:
        """The checkpoint's specification, overrides applied."""
        return self._prompter.spec

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self.identity.dimension

    @property
    def refines(self) -> bool:
        """Whether queries can be refined here: not by the backends that take only tokens."""
        return self._backend.refines

    def excess_tokens(self, text: str) -> int:
        """How many tokens at the end of a document would be left out; 0 where all of it is read. Runs no model."""
        return self._prompter.excess_tokens(text)

    def embed_documents(
        self,
        texts: Iterable[str],
        *,
        truncation: Truncation | None = None,
        on_done: Callable[[int], None] | None = None,
    ) -> DocumentEmbeddings:
        """Embed documents with one prefill each.

        Args:
            texts: the documents; none may be empty.
            truncation: another policy than the embedder's.
            on_done: told how many texts were finished since the last time.

        Returns:
            Vectors in the order of the texts, with what they cost and what was cut.

        Raises:
            InvalidText: a text that is empty or not encodable.
            TextTooLong: a text over ``max_document_tokens`` under the ``raise`` policy.
            BackendError: the model failed.
        """
        started = time.perf_counter()
        texts = check_texts(texts, "document")
        prompts = self._prompter.documents(texts)
        cuts = truncated(prompts, "document", self._policy(truncation), self.spec)
        if not prompts:
            return DocumentEmbeddings(np.empty((0, self.dimension), np.float32), 0, 0.0)
        states = self._backend.encode([prompt.ids for prompt in prompts], on_done=on_done)
        tokens = sum(len(prompt.ids) for prompt in prompts)
        return DocumentEmbeddings(to_vectors(states, self.spec), tokens, time.perf_counter() - started, cuts)

    def embed_query(
        self,
        text: str,
        *,
        truncation: Truncation | None = None,
        **options: Unpack[ThinkingOptions],
    ) -> QueryEmbedding:
        """Think about a query, then embed it; see :meth:`embed_queries`."""
        if not isinstance(text, str):
            raise TypeError(f"expected one query, got {type(text).__name__}; embed_queries takes a list")
        [embedding] = self.embed_queries([text], truncation=truncation, **options)
        return embedding

    def embed_queries(
        self,
        texts: Iterable[str],
        *,
        thoughts: Sequence[str] | None = None,
        truncation: Truncation | None = None,
        **options: Unpack[ThinkingOptions],
    ) -> list[QueryEmbedding]:
        """Think about each query, then embed it with its thought.

        Args:
            texts: the queries; none may be empty.
            thoughts: one for each query, taken in place of the model's own: what if it had thought this?
            truncation: another policy than the embedder's.
            options: those of :class:`~t1_vectorstore.thinking.ThinkingOptions`. A thought that is cut by ``budget`` or
                ``deadline``, which is the whole call's, still gives a vector, and says so.

        Returns:
            One embedding for each query, in order.

        Raises:
            InvalidText: a text that is empty or not encodable.
            TextTooLong: a text over ``max_query_tokens`` under the ``raise`` policy; a given thought the model has no
                room for.
            ValueError: options that contradict each other, the checkpoint or the backend.
            BackendError: the model failed.
        """
        started = time.perf_counter()
        return self._prepare(texts, thoughts, truncation, options).embed(self._backend, self._prompter, started)

    def stream_query(
        self, text: str, *, truncation: Truncation | None = None, **options: Unpack[ThinkingOptions]
    ) -> Iterator[str | QueryEmbedding]:
        """Embed a query, and hand out its thought while it is generated.

        The work begins when the first item is asked for. Who asks for no more of them ends it, by ``close()`` or by
        leaving the loop.

        Args:
            text: the query.
            truncation: another policy than the embedder's.
            options: those of :meth:`embed_queries`; one thought only, since several grow at the same time.

        Yields:
            The thought's text, piece by piece, then the embedding. The pieces together are the text of its thought.

        Raises:
            ValueError: several thoughts. This and what :meth:`embed_queries` refuses is raised before anything runs.
            BackendError: the model failed.
        """
        if not isinstance(text, str):
            raise TypeError(f"expected one query, got {type(text).__name__}; it is streamed on its own")
        query = self._prepare([text], None, truncation, options)
        if (samples := query.decided.samples) > 1:
            raise ValueError(f"{samples=} thoughts grow at the same time, and one can be streamed")
        return query.stream(self._backend, self._prompter)

    def _prepare(
        self,
        texts: Iterable[str],
        given: Sequence[str] | None,
        truncation: Truncation | None,
        options: ThinkingOptions,
    ) -> Queries:
        """Refuse what can be refused; what is left is to run the model."""
        policy = self._policy(truncation)
        return Queries.prepare(self._prompter, texts, given, options, self._max_positions, policy)

    def as_thought(self, text: str) -> str:
        """The text as the model would write it in a thought, such as in lower case; for comparing thoughts."""
        return self._prompter.thought_text(self._prompter.thought_ids(text))

    def _policy(self, told: Truncation | None) -> Truncation:
        return self._truncation if told is None else check_policy(told)
