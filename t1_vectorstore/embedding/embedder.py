"""``T1Embedder``: texts in; vectors and thoughts out, by T1's two paths for queries and documents."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Sequence
from pathlib import Path
from typing import overload

import numpy as np
from typing_extensions import Self

from t1_vectorstore.backends import Backend, check_backend, load_backend
from t1_vectorstore.backends.lazy import LazyBackend
from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from t1_vectorstore.checkpoints.spec import CheckpointSpec
from t1_vectorstore.embedding.cache import QueryCache
from t1_vectorstore.embedding.prompts import Prompter, check_texts, check_truncation
from t1_vectorstore.embedding.query import PreparedQueries, to_vectors
from t1_vectorstore.embedding.streaming import astream, run_until_cancelled, stream
from t1_vectorstore.embedding.thinking import check_given_lengths, check_given_thoughts, check_limits, plan_thinking
from t1_vectorstore.errors import BackendError, CheckpointError, UnusableVector
from t1_vectorstore.keyword_options import set_options, takes_options
from t1_vectorstore.model_names import DEFAULT_MODEL
from t1_vectorstore.options import EmbedQueriesOptions, EmbedQueryOptions, LoadingOptions, ModelOptions
from t1_vectorstore.types import DocumentEmbeddings, ModelIdentity, OnTokens, QueryEmbedding, Truncation


class T1Embedder:
    """Embeds documents in one forward pass, and queries after thinking about them. Thread-safe.

    A text has the same vector in every batch and from every thread.

    Attributes:
        identity: What a collection records of this model.
        checkpoint: The model's files and specification; ``None`` if it was combined from parts.
    """

    def __init__(
        self,
        prompter: Prompter,
        backend: Backend,
        identity: ModelIdentity,
        *,
        truncation: Truncation = "warn",
        max_positions: int | None = None,
        cache: QueryCache | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        """Combine parts that exist already. Call ``load`` instead to create them from a checkpoint.

        Raises:
            ValueError: An unknown truncation policy.
        """
        self._truncation = _check_policy(truncation)
        self._prompter = prompter
        self._backend = backend
        self._max_positions = max_positions
        self._cache = cache
        self.identity = identity
        self.checkpoint = checkpoint

    # Type checkers see the options in these two forms: with the model as a keyword, and with the model first.
    @overload
    @classmethod
    @takes_options(ModelOptions)
    def load(cls, options: ModelOptions) -> T1Embedder: ...
    @overload
    @classmethod
    @takes_options(LoadingOptions)
    def load(cls, model: str | Path, options: LoadingOptions) -> T1Embedder: ...
    @classmethod  # type: ignore[misc] # its types are in the overloads
    @takes_options(LoadingOptions)  # type: ignore[arg-type]
    def load(cls, model: str | Path = DEFAULT_MODEL, *, options: LoadingOptions) -> T1Embedder:
        """Load a checkpoint, and start the backend that runs it.

        Args:
            model: ``t1-mini`` (bundled), ``t1-small``, a checkpoint folder, or a hub id such as
                ``ForwardAILabs/MRE-T1``.
            options: Keyword arguments, the fields of ``LoadingOptions``.

        Raises:
            CheckpointError: There is no usable checkpoint under that name, or this backend cannot run it.
            BackendError: The servers cannot be reached, or run another model.
            MissingExtraError: A package that the backend needs is not installed.
            ValueError: A value that an option does not accept, or a device that this machine does not have. Nothing has
                been downloaded then.
            TypeError: An unknown option, or a value of the wrong type.
        """
        return cls.from_options(ModelOptions(model=model, **set_options(options, LoadingOptions)))

    @classmethod
    def from_options(cls, options: ModelOptions, checkpoint: Checkpoint | None = None) -> T1Embedder:
        """Load a model; see ``load``.

        Args:
            options: The model, and how it is run.
            checkpoint: The model's checkpoint, if it has been found already.
        """
        check_backend(options)
        checkpoint = checkpoint or Checkpoint.from_options(options)
        check_limits(checkpoint, checkpoint.max_positions)
        prompter = Prompter.load(checkpoint)
        identity = checkpoint.identity  # hashes the weights, so that a damaged file fails before torch is imported

        def start() -> Backend:
            backend = load_backend(options, checkpoint, stop_ids=prompter.stop_ids)
            try:
                check_limits(checkpoint, backend.max_positions or checkpoint.max_positions)
            except (ValueError, CheckpointError):
                backend.close()
                raise
            return backend

        return cls(
            prompter,
            LazyBackend(start, refines=options.backend not in ("vllm", "remote")) if options.lazy else start(),
            identity,
            truncation=options.truncation,
            max_positions=checkpoint.max_positions,
            checkpoint=checkpoint,
            cache=None if checkpoint.cache is None else QueryCache.of(checkpoint.cache, checkpoint, options),
        )

    @classmethod
    def fake(cls, dimension: int = 64, *, truncation: Truncation = "warn") -> T1Embedder:
        """Return an embedder without a model, for tests: deterministic and instant, with meaningless vectors."""
        from t1_vectorstore.backends.fake import SPEC, FakeBackend, byte_tokenizer, identity

        prompter = Prompter(byte_tokenizer(), SPEC)
        return cls(prompter, FakeBackend(dimension), identity(dimension), truncation=truncation)

    def __repr__(self) -> str:
        backend = type(self._backend).__name__
        return f"T1Embedder(model={self.identity.model!r}, backend={backend}, dimension={self.dimension})"

    def close(self) -> None:
        """Stop the servers' client or the processes of several devices; a single local model needs no closing."""
        self._backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def spec(self) -> CheckpointSpec:
        """The checkpoint's specification, with the overrides."""
        return self._prompter.spec

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self.identity.dimension

    @property
    def refines(self) -> bool:
        """Whether the backend can refine queries; those that accept only tokens cannot."""
        return self._backend.refines

    def excess_tokens(self, text: str) -> int:
        """Return the number of tokens that would be left out at the end of a document. Does not run the model."""
        return self._prompter.excess_tokens(text)

    def token_ids(self, text: str) -> list[int]:
        """Return the tokens of a text, without a prompt; for splitters that count tokens. Does not run the model."""
        ids: list[int] = self._prompter.encode([text])[0].ids
        return ids

    def query_tokens(self, texts: Iterable[str]) -> int:
        """Return the number of tokens of queries that the model reads, without prompts. Does not run the model."""
        return sum(min(len(self.token_ids(text)), self.spec.max_query_tokens) for text in texts)

    def text_of(self, ids: Sequence[int]) -> str:
        """Return the text that tokens of this model's tokenizer stand for; the reverse of ``token_ids``.

        Raises:
            ValueError: An id that is no token, or that of a special token, or tokens that are not whole characters.
        """
        return self._prompter.decode(ids)

    def embed_documents(
        self,
        texts: Iterable[str],
        *,
        truncation: Truncation | None = None,
        on_done: Callable[[int], None] | None = None,
    ) -> DocumentEmbeddings:
        """Embed documents, each in one forward pass.

        Args:
            texts: The documents; none may be empty.
            truncation: What to do with texts over ``max_document_tokens``. Default: the embedder's policy.
            on_done: Called with the number of texts that were embedded since the last call.

        Returns:
            Vectors in the order of the texts, with the number of tokens, the time and the truncated texts.

        Raises:
            InvalidText: A text that is empty or not encodable.
            TextTooLong: A text over ``max_document_tokens`` under the ``raise`` policy.
            UnusableVector: The model gave no finite vector for some texts, whose positions are in ``indexes``.
            BackendError: The model failed, or gives no text a finite vector.
        """
        started = time.perf_counter()
        policy = _check_policy(truncation or self._truncation)
        texts = check_texts(texts, "document")
        prompts = self._prompter.documents(texts)
        truncated = check_truncation(prompts, "document", policy, self.spec)
        if not prompts:
            return DocumentEmbeddings(np.empty((0, self.dimension), np.float32), 0, 0.0)
        states = self._backend.encode([prompt.ids for prompt in prompts], on_done=on_done)
        tokens = sum(len(prompt.ids) for prompt in prompts)
        try:
            vectors = to_vectors(states, self.spec, texts)
        except UnusableVector as error:
            if len(error.indexes) == len(texts):
                self._check_weights()
            raise
        return DocumentEmbeddings(vectors, tokens, time.perf_counter() - started, truncated)

    @takes_options(EmbedQueryOptions)
    def embed_query(self, text: str, options: EmbedQueryOptions) -> QueryEmbedding:
        """Think about a query, then embed it; see ``embed_queries``."""
        return self._embed_one(text, options)

    @takes_options(EmbedQueryOptions)
    async def aembed_query(self, text: str, options: EmbedQueryOptions) -> QueryEmbedding:
        """``embed_query`` in a thread. Cancelling the task stops the thought at its next token."""
        return await run_until_cancelled(lambda on_tokens: self._embed_one(text, options, on_tokens))

    @takes_options(EmbedQueryOptions)
    def check_query(self, text: str, options: EmbedQueryOptions) -> None:
        """Refuse what ``embed_query`` would refuse, without running the model; see ``embed_queries``."""
        self._prepare_one(text, options)

    @takes_options(EmbedQueriesOptions)
    def embed_queries(self, texts: Iterable[str], options: EmbedQueriesOptions) -> list[QueryEmbedding]:
        """Think about each query, then embed it with its thought.

        Args:
            texts: The queries; none may be empty.
            options: Keyword arguments, the fields of ``EmbedQueriesOptions``. A thought
                that ``budget`` or ``deadline`` ended still gives a vector; see ``Thought.stop``. The deadline is for
                the whole call.

        Returns:
            One embedding for each query, in order.

        Raises:
            InvalidText: A text that is empty or not encodable.
            TextTooLong: A text over ``max_query_tokens`` under the ``raise`` policy, or one too long with its given
                thought.
            ValueError: Options that contradict each other, the checkpoint or the backend.
            BackendError: The model failed.
        """
        return self._embed(texts, options)

    @takes_options(EmbedQueriesOptions)
    async def aembed_queries(self, texts: Iterable[str], options: EmbedQueriesOptions) -> list[QueryEmbedding]:
        """``embed_queries`` in a thread. Cancelling the task stops the thoughts at their next token."""
        return await run_until_cancelled(lambda on_tokens: self._embed(texts, options, on_tokens))

    @takes_options(EmbedQueryOptions)
    def stream_query(self, text: str, options: EmbedQueryOptions) -> Generator[str | QueryEmbedding, None, None]:
        """Embed a query, and yield its thought while it is generated.

        Generation starts when the first item is requested, and stops when the iterator is closed or left.

        Args:
            text: The query.
            options: Keyword arguments, the fields of ``EmbedQueryOptions``.

        Yields:
            Pieces of the thought's text, then the embedding. The pieces together are ``Thought.text``, with several
            samples that of the first thought.

        Raises:
            ValueError: This, and everything that ``embed_queries`` refuses, is raised before the first item is
                requested.
            BackendError: The model failed.
        """
        query = self._prepare_one(text, options)
        return stream(lambda on_tokens: self._run_one(query, on_tokens), self._prompter.thought_decoder())

    @takes_options(EmbedQueryOptions)
    def astream_query(self, text: str, options: EmbedQueryOptions) -> AsyncGenerator[str | QueryEmbedding, None]:
        """``stream_query`` for an event loop: the model runs in a thread.

        Closing the iterator with ``aclose()``, or cancelling the task that reads it, stops the thought at its next
        token. An iterator that is left early is closed by Python, at a later time.
        """
        query = self._prepare_one(text, options)
        return astream(lambda on_tokens: self._run_one(query, on_tokens), self._prompter.thought_decoder())

    @property
    def max_positions(self) -> int | None:
        """Longest sequence that the model accepts, in tokens; ``None`` if unknown."""
        return self._backend.max_positions or self._max_positions

    @property
    def backend(self) -> Backend:
        """What runs the model, in token ids, for code that serves it to other processes."""
        return self._backend

    def check_prompts(self, prompts: Sequence[Sequence[int]], *, generated: int = 0) -> None:
        """Refuse prompts in token ids that the model cannot read, or after which ``generated`` positions do not fit.

        Raises:
            ValueError: An unknown token, or more tokens than the model accepts.
        """
        self._prompter.check_ids(prompts)
        longest = max(map(len, prompts), default=0) + generated
        if self.max_positions is not None and longest > self.max_positions:
            raise ValueError(f"a prompt and its thought have {longest} tokens; the model accepts {self.max_positions}")

    def as_thought(self, text: str) -> str:
        """Return a text as the model would write it in a thought, such as in lower case; for comparing thoughts."""
        return self._prompter.thought_text(self._prompter.thought_ids(text))

    def _check_weights(self) -> None:
        """Check that the model gives a plain word a finite vector; otherwise no text is to blame.

        Raises:
            BackendError: It gives none.
        """
        word = "text"
        states = self._backend.encode([prompt.ids for prompt in self._prompter.documents([word])])
        try:
            to_vectors(states, self.spec, [word])
        except UnusableVector as error:
            raise BackendError(
                "the model gives no usable vector for any text; in float16 or bfloat16 try dtype='float32'; otherwise "
                "the weights are damaged"
            ) from error

    def _embed(
        self, texts: Iterable[str], options: EmbedQueriesOptions, on_tokens: OnTokens | None = None
    ) -> list[QueryEmbedding]:
        started = time.perf_counter()
        return self._prepare(texts, options).embed(self._backend, started, on_tokens)

    def _embed_one(self, text: str, options: EmbedQueryOptions, on_tokens: OnTokens | None = None) -> QueryEmbedding:
        started = time.perf_counter()
        return self._run_one(self._prepare_one(text, options), on_tokens, started)

    def _run_one(
        self, query: PreparedQueries, on_tokens: OnTokens | None, started: float | None = None
    ) -> QueryEmbedding:
        [embedding] = query.embed(self._backend, started or time.perf_counter(), on_tokens)
        return embedding

    def _prepare_one(self, text: str, options: EmbedQueryOptions) -> PreparedQueries:
        if not isinstance(text, str):
            raise TypeError(f"expected one query, got {type(text).__name__}; embed_queries takes several")
        return self._prepare([text], EmbedQueriesOptions.model_construct(**dict(options)))

    def _prepare(self, texts: Iterable[str], options: EmbedQueriesOptions) -> PreparedQueries:
        """Build the prompts, and refuse everything that can be refused without the model."""
        max_positions = self.max_positions
        plan = plan_thinking(self.spec, options, max_positions)
        texts = check_texts(texts, "query")
        thoughts = options.thoughts
        if thoughts is not None:
            thoughts = check_given_thoughts(thoughts, len(texts), plan, options.budget)
        prompts = self._prompter.queries(texts, think=plan.enabled, task=options.task, instruction=options.instruction)
        ids = [prompt.ids for prompt in prompts]
        given = None if thoughts is None else [self._prompter.thought_ids(thought) for thought in thoughts]
        if given is not None:
            check_given_lengths(ids, given, plan.refining, max_positions)
        truncated = check_truncation(prompts, "query", options.truncation or self._truncation, self.spec)
        cuts = {cut.index: cut for cut in truncated}
        return PreparedQueries(self._prompter, texts, ids, plan, given, cuts, self._cache)


def _check_policy(truncation: Truncation) -> Truncation:
    return LoadingOptions(truncation=truncation).truncation
