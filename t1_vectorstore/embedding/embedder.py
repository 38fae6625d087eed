"""The core: text in, vectors and thoughts out, by T1's two asymmetric paths."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
from typing_extensions import Self

from t1_vectorstore.backends import Backend, check_backend, load_backend
from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from t1_vectorstore.checkpoints.spec import CheckpointSpec
from t1_vectorstore.embedding.pooling import to_vectors
from t1_vectorstore.embedding.prompts import Prompter, check_texts, check_truncation
from t1_vectorstore.embedding.query import PreparedQueries
from t1_vectorstore.options import (
    DEFAULT_MODEL,
    EmbedQueriesOptions,
    EmbedQueryOptions,
    ModelOptions,
    takes_options,
)
from t1_vectorstore.types import DocumentEmbeddings, ModelIdentity, QueryEmbedding, Truncation


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
        self._truncation = _check_policy(truncation)
        self._prompter = prompter
        self._backend = backend
        self._max_positions = max_positions
        self.identity = identity
        """What a collection remembers of this model."""

    @classmethod
    def load(cls, model: str | Path = DEFAULT_MODEL, **options: Any) -> T1Embedder:  # noqa: ANN401 - checked by pydantic
        """Load a checkpoint, and start what runs it.

        Args:
            model: ``t1-mini`` (bundled), a checkpoint folder, or a hub id such as ``ForwardAILabs/MRE-T1``.
            options: The fields of :class:`~t1_vectorstore.options.LoadingOptions`, such as ``device="cuda"``.

        Raises:
            CheckpointError: Nothing usable under that name, or not with this backend.
            BackendError: The servers cannot be reached, or have another model.
            MissingExtraError: A package that the backend needs is not installed.
            ValueError: A value that an option does not accept, or a device that this machine does not have. Nothing has
                been downloaded then.
            TypeError: An unknown option, or a value of the wrong type.
        """
        return cls.from_options(ModelOptions.check(model=model, **options))

    @classmethod
    def from_options(cls, options: ModelOptions, checkpoint: Checkpoint | None = None) -> T1Embedder:
        """Load the model that the options describe, from its checkpoint if that was found already; see :meth:`load`."""
        check_backend(options)
        checkpoint = checkpoint or Checkpoint.from_options(options)
        checkpoint.check_lengths(checkpoint.max_positions)
        prompter = Prompter.load(checkpoint)
        identity = (
            checkpoint.identity
        )  # reads the weights' digest, so that a damaged folder fails before torch is loaded
        backend = load_backend(options, checkpoint, stop_ids=prompter.stop_ids)
        max_positions = backend.max_positions or checkpoint.max_positions
        return cls(prompter, backend, identity, truncation=options.truncation, max_positions=max_positions)

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
        cuts = check_truncation(prompts, "document", _check_policy(truncation or self._truncation), self.spec)
        if not prompts:
            return DocumentEmbeddings(np.empty((0, self.dimension), np.float32), 0, 0.0)
        states = self._backend.encode([prompt.ids for prompt in prompts], on_done=on_done)
        tokens = sum(len(prompt.ids) for prompt in prompts)
        return DocumentEmbeddings(to_vectors(states, self.spec), tokens, time.perf_counter() - started, cuts)

    @takes_options(EmbedQueryOptions)
    def embed_query(self, text: str, options: EmbedQueryOptions) -> QueryEmbedding:
        """Think about a query, then embed it; see :meth:`embed_queries`."""
        if not isinstance(text, str):
            raise TypeError(f"expected one query, got {type(text).__name__}; embed_queries takes a list")
        [embedding] = self._embed_queries([text], EmbedQueriesOptions.model_construct(**dict(options)))
        return embedding

    @takes_options(EmbedQueriesOptions)
    def embed_queries(self, texts: Iterable[str], options: EmbedQueriesOptions) -> list[QueryEmbedding]:
        """Think about each query, then embed it with its thought.

        Args:
            texts: The queries; none may be empty.
            options: Keyword arguments, the fields of :class:`~t1_vectorstore.options.EmbedQueriesOptions`. A thought cut
                by ``budget`` or by ``deadline``, which is for the whole call, still gives a vector; ``Thought.stop``
                says so.

        Returns:
            One embedding for each query, in order.

        Raises:
            InvalidText: A text that is empty or not encodable.
            TextTooLong: A text over ``max_query_tokens`` under the ``raise`` policy, or one too long with its given
                thought.
            ValueError: Options that contradict each other, the checkpoint or the backend.
            BackendError: The model failed.
        """
        return self._embed_queries(texts, options)

    @takes_options(EmbedQueryOptions)
    def stream_query(self, text: str, options: EmbedQueryOptions) -> Iterator[str | QueryEmbedding]:
        """Embed a query, and yield its thought while it is generated.

        Generation starts when the first item is requested, and stops when the iterator is closed or left.

        Args:
            text: The query.
            options: Keyword arguments, the fields of :class:`~t1_vectorstore.options.EmbedQueryOptions`; one sample only.

        Yields:
            Pieces of the thought's text, then the embedding. The pieces together are ``Thought.text``.

        Raises:
            ValueError: Several samples. This and whatever :meth:`embed_queries` refuses is raised before anything runs.
            BackendError: The model failed.
        """
        if not isinstance(text, str):
            raise TypeError(f"expected one query, got {type(text).__name__}; it is streamed on its own")
        query = self._prepare([text], EmbedQueriesOptions.model_construct(**dict(options)))
        if (samples := query.plan.samples) > 1:
            raise ValueError(f"{samples=} thoughts are generated at the same time, and only one can be streamed")
        return query.stream(self._backend, self._prompter)

    def _embed_queries(self, texts: Iterable[str], options: EmbedQueriesOptions) -> list[QueryEmbedding]:
        started = time.perf_counter()
        return self._prepare(texts, options).embed(self._backend, self._prompter, started)

    def _prepare(self, texts: Iterable[str], options: EmbedQueriesOptions) -> PreparedQueries:
        return PreparedQueries.prepare(self._prompter, texts, options, self._max_positions, self._truncation)

    def as_thought(self, text: str) -> str:
        """The text as the model would write it in a thought, such as in lower case; for comparing thoughts."""
        return self._prompter.thought_text(self._prompter.thought_ids(text))


def _check_policy(policy: Truncation) -> Truncation:
    if policy not in get_args(Truncation):
        raise ValueError(f"truncation must be one of {', '.join(get_args(Truncation))}, got {policy!r}")
    return policy
