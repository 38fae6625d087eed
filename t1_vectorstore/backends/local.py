"""The local backend: a model in this process, run by this package's decoder if it supports it, else by transformers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from typing import Any, Protocol

import numpy as np
import torch

from t1_vectorstore.backends.decoder.decoder import Decoder
from t1_vectorstore.backends.decoder.model import DecoderModel, decoder_config
from t1_vectorstore.backends.decoder.weights import load_weights
from t1_vectorstore.backends.decoding import Sampler, ThoughtState
from t1_vectorstore.backends.devices import find_device, find_dtype
from t1_vectorstore.backends.oom import TokenBudget
from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from t1_vectorstore.checkpoints.spec import NO_REFINING, Decoding, Refining
from t1_vectorstore.errors import BackendError, CheckpointError, MissingExtraError
from t1_vectorstore.forks import ForkSafeLock
from t1_vectorstore.options import LoadingOptions
from t1_vectorstore.types import OnTokens, Trajectory, Vectors

BATCH_TOKENS = {"cpu": 1024, "cuda": 32_768, "mps": 8192}
"""Tokens in a forward pass, by device type. On a CPU more would only cost memory: the matrices are large enough."""

CACHE_TOKENS = {"cpu": 16, "cuda": 4, "mps": 2}
"""Tokens of prompts and thoughts in the key-value cache, by device type, as a multiple of those in a forward pass."""

_SMALL = 384
"""Models with hidden states up to this length run on one thread. More threads gain little for such small matrices if
the cores are idle; on busy cores, threads that wait for each other were measured to take five times as long."""


class LocalModel(Protocol):
    """A loaded model. Its methods are called under the backend's lock, without gradients."""

    padded: bool
    """Whether a batch of documents is a rectangle, in which a short text costs as much as the longest one."""
    vocabulary: int
    """Number of token embeddings."""
    logits: Callable[[torch.Tensor], torch.Tensor]
    """Computes logits ``(n, vocabulary)`` from final states ``(n, hidden)``."""

    def encode(self, sequences: Sequence[Sequence[int]]) -> torch.Tensor:
        """Return the pooled state at the last token of each sequence, ``(sequences, hidden)``."""
        ...

    def shared_prefix(self, prompts: Sequence[Sequence[int]]) -> int:
        """Return how many of the tokens that all prompts start with are cached once for all of them."""
        ...

    def generate(
        self, thoughts: Sequence[ThoughtState], sampler: Sampler, *, max_batch: int, prefill_tokens: int
    ) -> None:
        """Complete all thoughts.

        Args:
            thoughts: The thoughts; changed in place.
            sampler: Chooses the tokens by the logits.
            max_batch: Maximum number of thoughts in memory at a time.
            prefill_tokens: Maximum number of prompt tokens in a forward pass; a longer prompt has its own.
        """
        ...


class LocalBackend:
    """Runs a model with torch. Several threads can share it; their calls run one after the other."""

    refines = True
    max_positions: int | None = None

    def __init__(
        self,
        model: LocalModel,
        device: torch.device,
        *,
        stop_ids: Sequence[int],
        batch_tokens: int | None = None,
        threads: int | None = None,
    ) -> None:
        """Create the backend of a model on a device.

        Args:
            model: The model.
            device: Its device.
            stop_ids: Tokens that end a thought, the emb token first.
            batch_tokens: Maximum number of tokens in a forward pass. Default: by device type.
            threads: Number of CPU threads. Default: torch's own number.
        """
        self.model = model
        self.device = device
        self._emb_id, self._stop_ids = stop_ids[0], frozenset(stop_ids)
        self._threads = threads
        self._process = os.getpid()
        tokens = batch_tokens or BATCH_TOKENS.get(device.type, 8192)
        self._batch_budget = TokenBudget(tokens, device)
        self._cache_budget = TokenBudget(tokens * CACHE_TOKENS.get(device.type, 2), device)
        self._lock = ForkSafeLock()

    def encode(self, prompts: Sequence[Sequence[int]], *, on_done: Callable[[int], None] | None = None) -> Vectors:
        """See ``Backend.encode``; ``on_done`` is called after each batch."""
        states: list[Any] = [None] * len(prompts)

        def forward(batch: Sequence[int]) -> Vectors:
            with self._running():
                return np.asarray(self.model.encode([prompts[index] for index in batch]).float().cpu())

        lengths = [len(prompt) for prompt in prompts]
        for batch, pooled in self._batch_budget.run_batches(lengths, forward, padded=self.model.padded):
            for index, state in zip(batch, pooled, strict=True):
                states[index] = state
            if on_done is not None:
                on_done(len(batch))
        return np.stack(states)

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
        started = [ThoughtState.start(index, prompt, sample, decoding, refining) for index, (prompt, sample) in jobs]
        return self._complete(started, decoding, refining, deadline, on_tokens)

    def refine(self, prompts: Sequence[Sequence[int]], refining: Refining) -> Vectors:
        """See ``Backend.refine``."""
        if not refining.steps:
            return self.encode(prompts)
        # The prompts end with the emb token, so these thoughts have ended, and only their refining is left.
        ended = [ThoughtState(at, prompt, refining=refining, stop="emb_token") for at, prompt in enumerate(prompts)]
        trajectories = self._complete(ended, Decoding(max_tokens=0), refining)
        return np.stack([trajectory.state for trajectory in trajectories])

    def _complete(
        self,
        started: Sequence[ThoughtState],
        decoding: Decoding,
        refining: Refining,
        deadline: float | None = None,
        on_tokens: OnTokens | None = None,
    ) -> list[Trajectory]:
        """Complete thoughts, from their start again whenever memory runs out."""
        if not started:
            return []
        reported = [0] * len(started)

        def report(thought: ThoughtState) -> None:
            # A second attempt generates the same tokens again, which have been reported.
            if on_tokens is not None and len(thought.ids) > reported[thought.index]:
                reported[thought.index] += 1
                on_tokens(thought.index, thought.ids[-1:])

        sampler = Sampler(self.model.logits, self._emb_id, self._stop_ids, decoding, deadline, report)

        def forward(max_batch: int) -> list[Trajectory]:
            thoughts = [replace(thought, ids=[], passes=[], fed_back=[]) for thought in started]
            prefill_tokens = self._batch_budget.tokens
            with self._running():
                self.model.generate(thoughts, sampler, max_batch=max_batch, prefill_tokens=prefill_tokens)
                return [thought.trajectory() for thought in thoughts]

        prompts = [thought.prompt for thought in started]
        shared = self.model.shared_prefix(prompts)
        added = decoding.max_tokens + 1 + refining.steps  # thought, emb token and states that are fed back
        lengths = [len(prompt) - shared + added for prompt in prompts]
        return self._cache_budget.run_together(lengths, forward, shared=shared)

    def close(self) -> None:
        """Do nothing: everything runs in this process."""

    @contextmanager
    def _running(self) -> Iterator[None]:
        """Run the model: one call at a time, without gradients, on this backend's number of threads.

        Raises:
            BackendError: The model is on a GPU, and this process was forked from the one that loaded it.
        """
        if self.device.type != "cpu" and os.getpid() != self._process:
            raise BackendError(
                f"the model was loaded on {self.device} before a fork, and a forked process cannot use it; load it in "
                "each process, after the fork"
            )
        with self._lock, torch.inference_mode():
            before = torch.get_num_threads()
            # A forked process does not have its parent's threads, and would wait for them forever.
            torch.set_num_threads(1 if os.getpid() != self._process else self._threads or before)
            try:
                yield
            finally:
                if os.getpid() == self._process:
                    torch.set_num_threads(before)


def load_local(
    checkpoint: Checkpoint,
    options: LoadingOptions,
    device: str,
    *,
    stop_ids: Sequence[int],
    sharing: int = 1,
    own_decoder: bool = True,
) -> LocalBackend:
    """Load a checkpoint's weights.

    Args:
        checkpoint: The folder and its specification.
        options: Number type, batch size and threads.
        device: Device name.
        stop_ids: Tokens that end a thought, the emb token first.
        sharing: Number of processes on this CPU that load the model.
        own_decoder: Use this package's decoder for the models that it supports; otherwise always transformers.

    Raises:
        ValueError: A device that this machine does not have, or a pooling layer that the model does not have.
        CheckpointError: Weights that cannot be loaded, or that have no embedding for the emb token.
        MissingExtraError: The model needs transformers, which is not installed.
    """
    place = find_device(device)
    dtype = find_dtype(options.dtype, place)
    layer = _pooling_layer(checkpoint)
    config = decoder_config(checkpoint, place) if own_decoder else None
    model: LocalModel
    if config is not None:
        weights = load_weights(checkpoint.path, config, dtype=dtype, device=place, head=checkpoint.spec.thinks)
        model = DecoderModel(Decoder(config, weights), pooling_layer=layer)
    else:
        try:
            from t1_vectorstore.backends.transformers_model import TransformersModel, load_causal_model
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] != "transformers":
                raise
            raise MissingExtraError("local", "the local backend") from error
        causal = load_causal_model(checkpoint, dtype, remote_code=options.remote_code).to(place)
        model = TransformersModel(causal, pooling_layer=layer, device=place)
    if max(stop_ids) >= model.vocabulary:
        raise CheckpointError(
            f"the tokenizer's {checkpoint.spec.emb_token!r} is token {stop_ids[0]}, but the model in {checkpoint.path} "
            f"has only {model.vocabulary} embeddings: tokenizer and weights do not belong together"
        )
    share = None if sharing <= 1 else max(1, torch.get_num_threads() // sharing)
    threads = options.threads or (1 if checkpoint.hidden_size <= _SMALL else share)
    return LocalBackend(model, place, stop_ids=stop_ids, batch_tokens=options.batch_tokens, threads=threads)


def _pooling_layer(checkpoint: Checkpoint) -> int:
    """Return the specification's pooling layer counted from 0, which are the embeddings."""
    layers = checkpoint.layers
    layer = checkpoint.spec.pooling_layer
    if not -layers - 1 <= layer <= layers:
        raise ValueError(f"pooling_layer={layer}, but {checkpoint.name!r} has {layers} layers")
    return layer % (layers + 1)
