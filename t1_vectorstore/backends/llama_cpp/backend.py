"""The llama.cpp backend: documents, thoughts and refining in contexts of one model."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import product

import numpy as np

from t1_vectorstore.backends.batching import batches_by_tokens
from t1_vectorstore.backends.llama_cpp.library import Context, Model
from t1_vectorstore.backends.llama_cpp.scheduler import Scheduler, ThoughtState, cache_tokens
from t1_vectorstore.checkpoints.spec import NO_REFINING, Decoding, Refining
from t1_vectorstore.errors import BackendError
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
        self._context: Context | None = self._new_context(min(self._batch_tokens, model.options.n_ctx or CACHE_TOKENS))

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
            if self._context is not None:
                self._context.close()
            self._context = None
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
        with self._running(needed) as context:
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

    @contextmanager
    def _running(self, needed: Sequence[int]) -> Iterator[Context]:
        """Take the context, one call at a time, after making it large enough for at least one of the thoughts.

        Args:
            needed: Number of tokens that each thought may need.

        Raises:
            BackendError: The backend is closed, the model's file has changed, there is not enough memory, or the model
                is on a GPU and this process was forked from the one that loaded it.
        """
        with self._lock:
            if self._context is None:
                raise BackendError("the model has been closed; load it again")
            self._model.check_unchanged()
            if os.getpid() != self._process:
                self._after_fork()
            most = self._model.options.n_ctx or CACHE_TOKENS
            at_once = sorted(needed, reverse=True)[: self._model.options.n_seq_max]
            wanted = max(at_once[0], min(sum(at_once), most))
            if wanted > self._context.tokens:
                # Growing by half at least, so that many calls of rising lengths do not allocate each time.
                wanted = max(wanted, min(self._context.tokens * 3 // 2, most))
                self._context.close()  # first, as both may not fit
                self._context = None
                self._context = self._new_context(wanted)
            yield self._context

    def _after_fork(self) -> None:
        """Prepare a forked process, which has a copy of the parent's memory but not its threads."""
        if self._model.on_gpu:
            raise BackendError(
                "the model was loaded on a GPU before a fork, and a forked process cannot use it; load it in each "
                "process, after the fork"
            )
        # The parent may have been computing in its context, and OpenMP would wait for its threads forever.
        self._process, self._threads = os.getpid(), 1
        assert self._context is not None
        self._context = self._new_context(self._context.tokens)

    def _new_context(self, tokens: int) -> Context:
        return Context(
            self._model,
            tokens=-(-tokens // _STEP) * _STEP,
            sequences=self._model.options.n_seq_max + 1,  # one has the shared prefix
            batch=self._batch_tokens,
            threads=self._threads,
        )
