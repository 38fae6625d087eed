"""The local backend: a model in this process, by the lean path where that is proven, else by transformers."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from t1_vectorstore.backends.decoder.model import DecoderModel, decoder_config
from t1_vectorstore.backends.decoding import Sampler, ThoughtState
from t1_vectorstore.backends.devices import find_device, find_dtype
from t1_vectorstore.backends.oom import TokenBudget
from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from t1_vectorstore.checkpoints.spec import NO_REFINING, Decoding, Refining
from t1_vectorstore.errors import CheckpointError
from t1_vectorstore.options import LoadingOptions
from t1_vectorstore.types import OnTokens, Trajectory, Vectors

BATCH_TOKENS = {"cpu": 1024, "cuda": 32_768, "mps": 8192}
"""Tokens of a forward pass, by device type. On a CPU more only costs memory: the matrices are large enough."""

CACHE_TOKENS = {"cpu": 16, "cuda": 4, "mps": 2}
"""Tokens of thoughts that are remembered at once, by device type, as a multiple of those of a forward pass."""

_SMALL = 384
"""Hidden states up to this length are computed by one thread: sharing such small matrices gains little on idle cores,
and on busy ones threads that wait for each other were measured to take five times as long."""

_NO_STATE = np.empty(0, np.float32)


class LocalModel(Protocol):
    """A loaded model; everything here is called under the backend's lock, without gradients."""

    padded: bool
    """Whether a batch of documents is a rectangle, so that a short row costs what the longest does."""
    vocabulary: int
    """How many tokens have an embedding."""

    def encode(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """The pooled state at the last token of each sequence, ``(rows, hidden)``."""
        ...

    def shared_prefix(self, prompts: Sequence[Sequence[int]]) -> int:
        """How many tokens that all prompts begin with are remembered once for all of them."""
        ...

    def generate(
        self, rows: Sequence[ThoughtState], make_sampler: Callable[..., Sampler], *, max_batch: int, prefill_tokens: int
    ) -> None:
        """Bring every row to its end: at most so many of them at a time, and so many prompt tokens in one pass."""
        ...


class LocalBackend:
    """Runs a checkpoint with torch; one call at a time, so that it can be shared between threads."""

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
        """Put a loaded model behind the two verbs of a backend.

        Args:
            model: on its device.
            device: where that is.
            stop_ids: Tokens that end a thought, the emb token first.
            batch_tokens: tokens of a forward pass.
            threads: of a CPU, while the model runs; ``None`` takes torch's own number.
        """
        self.model = model
        self.device = device
        self._emb_id, self._stop_ids = stop_ids[0], frozenset(stop_ids)
        self._threads = threads
        self._process = os.getpid()
        tokens = batch_tokens or BATCH_TOKENS.get(device.type, 8192)
        self._budget = TokenBudget(tokens, device)
        self._thoughts = TokenBudget(tokens * CACHE_TOKENS.get(device.type, 2), device)
        self._lock = threading.Lock()

    def encode(self, prompts: Sequence[Sequence[int]], *, on_done: Callable[[int], None] | None = None) -> Vectors:
        """The hidden state at each prompt's last token, float32 ``(n, hidden)``, in order.

        Args:
            prompts: token ids, each ending with the emb token.
            on_done: told how many prompts each batch finished.
        """
        states: list[npt.NDArray[np.float32]] = [_NO_STATE] * len(prompts)

        def run(batch: Sequence[int]) -> Vectors:
            with self._running():
                ends: Vectors = self.model.encode([prompts[row] for row in batch]).float().cpu().numpy()
                return ends

        for batch, ends in self._budget.run([len(p) for p in prompts], run, padded=self.model.padded):
            for row, state in zip(batch, ends, strict=True):
                states[row] = state
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
        """Generate thoughts for each prompt, and the hidden state at the emb token that closes each, in order.

        Args:
            prompts: token ids up to where the thought begins.
            decoding: budget and sampling.
            deadline: ``time.monotonic()`` after which thoughts are closed as they stand.
            refining: what follows the emb token.
            samples: how many thoughts for each prompt, one after the other.
            on_tokens: told which of the thoughts has grown, and by what, in the calling thread.
        """

        def begin(index: int) -> ThoughtState:
            return ThoughtState.begin(index, prompts[index // samples], decoding, refining, nth=index % samples)

        each = [prompt for prompt in prompts for _ in range(samples)]
        return self._end(begin, each, decoding, refining, deadline, on_tokens)

    def refine(self, prompts: Sequence[Sequence[int]], refining: Refining) -> Vectors:
        """What becomes of the hidden states at the prompts' last tokens, float32 ``(n, hidden)``, in order.

        Args:
            prompts: token ids, each ending with the emb token.
            refining: what follows it.
        """
        if not refining.steps:
            return self.encode(prompts)

        def begin(index: int) -> ThoughtState:
            return ThoughtState.closed(index, prompts[index], refining)

        ended = self._end(begin, prompts, Decoding(max_tokens=0), refining)
        return np.stack([trajectory.state for trajectory in ended])

    def _end(
        self,
        begin: Callable[[int], ThoughtState],
        prompts: Sequence[Sequence[int]],
        decoding: Decoding,
        refining: Refining,
        deadline: float | None = None,
        on_tokens: OnTokens | None = None,
    ) -> list[Trajectory]:
        """Bring rows that begin with these prompts to their end."""
        if not prompts:
            return []
        told = [0] * len(prompts)

        def tell(row: ThoughtState) -> None:
            if on_tokens is not None and len(row.ids) > told[row.index]:  # else it is done again, with less memory
                told[row.index] += 1
                on_tokens(row.index, row.ids[-1:])

        def sampler(to_logits: Callable[[torch.Tensor], torch.Tensor]) -> Sampler:
            return Sampler(to_logits, self._emb_id, self._stop_ids, decoding, deadline, tell)

        def run(max_batch: int) -> list[Trajectory]:
            rows = [begin(index) for index in range(len(prompts))]
            with self._running():
                self.model.generate(rows, sampler, max_batch=max_batch, prefill_tokens=self._budget.tokens)
                return [row.trajectory() for row in rows]

        once = self.model.shared_prefix(prompts)
        rest = decoding.max_tokens + 1 + refining.steps - once
        return self._thoughts.share([len(prompt) + rest for prompt in prompts], run, once=once)

    def close(self) -> None:
        """Nothing runs beside this process."""

    @contextmanager
    def _running(self) -> Iterator[None]:
        """One call at a time, without gradients."""
        with self._lock, torch.inference_mode():
            before = torch.get_num_threads()
            # In a forked process the threads of its parent are not there, and waiting for them would be for ever.
            torch.set_num_threads(1 if os.getpid() != self._process else self._threads or before)
            try:
                yield
            finally:
                if os.getpid() == self._process:
                    torch.set_num_threads(before)


def load_local(
    checkpoint: Checkpoint,
    options: LoadingOptions,
    *,
    stop_ids: Sequence[int],
    device: str | None = None,
    sharing: int = 1,
    own_decoder: bool = True,
) -> LocalBackend:
    """Load the weights.

    Args:
        checkpoint: The folder and its specification.
        options: Number type, batch size and threads.
        stop_ids: Tokens that end a thought, the emb token first.
        device: Device name. Default: ``options.device``.
        sharing: Number of processes on this CPU that load the model.
        own_decoder: Use this package's decoder for the models that it supports; otherwise always transformers.

    Raises:
        ValueError: A device that this machine does not have, or a pooling layer that the model does not have.
        CheckpointError: Weights that cannot be loaded, or that have no row for the emb token.
        ModuleNotFoundError: The model needs transformers, which is not installed.
    """
    place = find_device(device or options.device)
    dtype = find_dtype(options.dtype, place)
    depth = _depth(checkpoint)
    shape = decoder_config(checkpoint, place) if own_decoder else None
    model: LocalModel
    if shape is not None:
        model = DecoderModel.load(checkpoint, shape, depth=depth, dtype=dtype, device=place)
    else:
        from t1_vectorstore.backends.transformers import TransformersModel

        model = TransformersModel.load(
            checkpoint, depth=depth, dtype=dtype, device=place, remote_code=options.remote_code
        )
    if max(stop_ids) >= model.vocabulary:
        raise CheckpointError(
            f"the tokenizer's {checkpoint.spec.emb_token!r} is token {stop_ids[0]}, but the model in {checkpoint.path} "
            f"has only {model.vocabulary} embeddings: tokenizer and weights do not belong together"
        )
    own = None if sharing <= 1 else max(1, torch.get_num_threads() // sharing)
    threads = options.threads or (1 if checkpoint.hidden_size <= _SMALL else own)
    return LocalBackend(model, place, stop_ids=stop_ids, batch_tokens=options.batch_tokens, threads=threads)


def _depth(checkpoint: Checkpoint) -> int:
    """The specification's pooling layer, counted from 0, the embeddings."""
    layers = checkpoint.layers
    layer = checkpoint.spec.pooling_layer
    if not -layers - 1 <= layer <= layers:
        raise ValueError(f"pooling_layer={layer}, but {checkpoint.name!r} has {layers} layers")
    return layer % (layers + 1)
