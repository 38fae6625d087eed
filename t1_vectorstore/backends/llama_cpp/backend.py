"""The llama.cpp backend: documents, thoughts and refining in contexts of one model."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from itertools import product

import numpy as np

from t1_vectorstore.backends.batching import batches_by_tokens
from t1_vectorstore.backends.llama_cpp.library import Context, Model
from t1_vectorstore.backends.llama_cpp.scheduler import Scheduler, ThoughtState, cache_tokens
from t1_vectorstore.checkpoints.spec import NO_REFINING, Decoding, Refining
from t1_vectorstore.errors import BackendError, OutOfMemoryWarning, external_stacklevel
from t1_vectorstore.forks import ForkSafeLock
from t1_vectorstore.types import OnTokens, Trajectory, Vectors

BATCH_TOKENS = 512
"""Tokens in a forward pass. More are hardly faster on a CPU, and need more memory."""

CACHE_TOKENS = 4096
"""Tokens in the key-value cache, unless one sequence needs more."""

_STEP = 256
"""llama.cpp's caches have multiples of this number of tokens."""


class LlamaCppBackend:
    """Runs a model with llama.cpp. Several threads can share it; their calls run one after the other."""

    refines = True

    def __init__(
        self,
        model: Model,
        *,
        stop_ids: Sequence[int],
        max_positions: int | None = None,
        batch_tokens: int | None = None,
        threads: int = 1,
    ) -> None:
        """Create the backend of a model, with a small cache.

        Args:
            model: The model, which the backend closes.
            stop_ids: Tokens that end a thought, the emb token first.
            max_positions: Longest sequence that it accepts, in tokens.
            batch_tokens: Maximum number of tokens in a forward pass.
            threads: Number of CPU threads.

        Raises:
            BackendError: There is not enough memory for a cache.
        """
        self.max_positions = max_positions
        self._model, self._stop_ids, self._threads = model, tuple(stop_ids), threads
        self._batch_tokens = batch_tokens or BATCH_TOKENS
        self._process = os.getpid()
        self._lock = ForkSafeLock()
        self._closed = False
        self._most_tokens = model.options.n_ctx or CACHE_TOKENS  # in the cache, unless one sequence needs more
        self._context: Context | None = self._new_context(min(self._batch_tokens, self._most_tokens))

    def encode(self, prompts: Sequence[Sequence[int]], *, on_done: Callable[[int], None] | None = None) -> Vectors:
        """See ``Backend.encode``; ``on_done`` is called after each batch."""
        states = np.empty((len(prompts), self._model.hidden), np.float32)
        most = self._model.options.n_seq_max
        for same_length in batches_by_tokens([len(prompt) for prompt in prompts], self._batch_tokens, padded=False):
            for start in range(0, len(same_length), most):
                batch = same_length[start : start + most]
                thoughts = [ThoughtState.ended(index, prompts[index]) for index in batch]
                for index, trajectory in zip(batch, self._complete(thoughts), strict=True):
                    states[index] = trajectory.state
                if on_done is not None:
                    on_done(len(batch))
        return states

    def think(
        self,
        prompts: Sequence[Sequence[int]],
        decoding: Decoding,
        *,
        deadline: float | None = None,
        refining: Refining = NO_REFINING,
        samples: int = 1,
        on_tokens: OnTokens | None = None,
    ) -> list[Trajectory]:
        """See ``Backend.think``; ``on_tokens`` is called in the calling thread."""
        jobs = enumerate(product(prompts, range(samples)))
        thoughts = [ThoughtState.start(index, prompt, sample, decoding) for index, (prompt, sample) in jobs]
        return self._complete(thoughts, decoding, refining, deadline, on_tokens)

    def refine(self, prompts: Sequence[Sequence[int]], refining: Refining) -> Vectors:
        """See ``Backend.refine``."""
        if not refining.steps:
            return self.encode(prompts)
        thoughts = [ThoughtState.ended(index, prompt) for index, prompt in enumerate(prompts)]
        return np.stack([trajectory.state for trajectory in self._complete(thoughts, refining=refining)])

    def close(self) -> None:
        """Free the model. The backend cannot be used any more."""
        with self._lock:
            self._closed = True
            self._free_context()
            self._model.close()

    def _complete(
        self,
        thoughts: Sequence[ThoughtState],
        decoding: Decoding | None = None,
        refining: Refining = NO_REFINING,
        deadline: float | None = None,
        on_tokens: OnTokens | None = None,
    ) -> list[Trajectory]:
        if not thoughts:
            return []
        needed = [cache_tokens(thought, decoding or Decoding(max_tokens=0), refining) for thought in thoughts]
        with self._lock:
            context = self._ready_context(needed)
            scheduler = Scheduler(
                context,
                stop_ids=self._stop_ids,
                decoding=decoding,
                refining=refining,
                deadline=deadline,
                on_tokens=on_tokens,
                shares_prefixes=self._model.shares_prefixes,
            )
            scheduler.run(thoughts)
        return [thought.trajectory for thought in thoughts]

    def _ready_context(self, needed: Sequence[int]) -> Context:
        """Return the context, large enough for at least one of the thoughts. The caller holds the lock.

        Args:
            needed: Number of tokens that each thought may need.

        Raises:
            BackendError: The backend is closed, the model's file has changed, there is not enough memory, or the model
                is on a GPU and this process was forked from the one that loaded it.
        """
        if self._closed:
            raise BackendError("the model has been closed; load it again")
        self._model.check_unchanged()
        if os.getpid() != self._process:
            self._after_fork()
        at_once = sorted(needed, reverse=True)[: self._model.options.n_seq_max]
        wanted = max(at_once[0], min(sum(at_once), self._most_tokens))
        if self._context is None or wanted > self._context.tokens:
            # Growing by half at least, so that many calls of rising lengths do not allocate each time.
            held = 0 if self._context is None else self._context.tokens
            self._free_context()  # first, as both may not fit
            self._context = self._allocate(max(wanted, min(held * 3 // 2, self._most_tokens)), least=at_once[0])
        return self._context

    def _allocate(self, wanted: int, *, least: int) -> Context:
        """Return a context of ``wanted`` tokens, or of fewer if there is not enough memory for them.

        Memory runs out here and not while the model runs, since llama.cpp allocates the cache and all buffers of a
        forward pass with the context.

        Args:
            wanted: Number of tokens.
            least: Length of the longest sequence, which must fit.

        Raises:
            BackendError: There is not enough memory for ``least`` tokens. The next call tries again.
        """
        while True:
            try:
                return self._new_context(wanted)
            except BackendError as error:
                if wanted <= least:
                    raise
                reason = error
            fewer = max(wanted // 2, least)
            # For good, as otherwise each call would try the larger cache first.
            self._most_tokens = min(self._most_tokens, fewer)
            warnings.warn(
                f"{reason}. Continuing with {fewer} tokens, so with fewer texts at a time",
                OutOfMemoryWarning,
                stacklevel=external_stacklevel(),
            )
            wanted = fewer

    def _free_context(self) -> None:
        if self._context is not None:
            self._context.close()
        self._context = None

    def _after_fork(self) -> None:
        """Prepare a forked process, which has a copy of the parent's memory but not its threads."""
        if self._model.on_gpu:
            raise BackendError(
                "the model was loaded on a GPU before a fork, and a forked process cannot use it; load it in each "
                "process, after the fork"
            )
        # The parent may have been computing in its context, and OpenMP would wait for its threads forever.
        self._process, self._threads = os.getpid(), 1
        if self._context is not None:
            self._context = self._new_context(self._context.tokens)

    def _new_context(self, tokens: int) -> Context:
        return Context(
            self._model,
            tokens=-(-tokens // _STEP) * _STEP,
            sequences=self._model.options.n_seq_max + 1,  # one has the shared prefix
            batch=self._batch_tokens,
            threads=self._threads,
        )
