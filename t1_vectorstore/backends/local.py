"""The local backend: a model in this process, run by this package's decoder if it supports it, else by transformers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
import torch

from t1_vectorstore.backends.calls import EncodeCall, ThinkCall
from t1_vectorstore.backends.decoder.decoder import Decoder
from t1_vectorstore.backends.decoder.model import DecoderModel, decoder_config
from t1_vectorstore.backends.decoder.weights import load_weights
from t1_vectorstore.backends.decoding import Sampler, ThoughtState
from t1_vectorstore.backends.devices import find_device, find_dtype
from t1_vectorstore.backends.local_model import LocalModel
from t1_vectorstore.backends.model_loop import ModelLoop
from t1_vectorstore.backends.oom import is_out_of_memory
from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from t1_vectorstore.checkpoints.folder import CheckpointFolder
from t1_vectorstore.checkpoints.spec import NO_REFINING, Decoding, Refining
from t1_vectorstore.errors import BackendError, CheckpointError, MissingExtraError
from t1_vectorstore.options import LoadingOptions
from t1_vectorstore.types import OnTokens, Trajectory, Vectors

BATCH_TOKENS = {"cpu": 1024, "cuda": 32_768, "mps": 8192}
"""Tokens in a forward pass, by device type. On a CPU more would only cost memory: the matrices are large enough."""

CACHE_TOKENS = {"cpu": 16, "cuda": 4, "mps": 2}
"""Tokens of prompts and thoughts in the key-value cache, by device type, as a multiple of those in a forward pass."""

_SMALL = 384
"""Models with hidden states up to this length run on one thread. More threads gain little for such small matrices if
the cores are idle; on busy cores, threads that wait for each other were measured to take five times as long."""


class LocalBackend:
    """Runs a model with torch. Calls from several threads share its forward passes."""

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
        tokens = batch_tokens or BATCH_TOKENS.get(device.type, 8192)
        self.loop = ModelLoop(
            model,
            Sampler(model.logits, stop_ids[0], frozenset(stop_ids)),
            device=device,
            batch_tokens=tokens,
            cache_tokens=tokens * CACHE_TOKENS.get(device.type, 2),
            threads=threads,
        )

    @property
    def model(self) -> LocalModel:
        """The model."""
        return self.loop.model

    def encode(self, prompts: Sequence[Sequence[int]], *, on_done: Callable[[int], None] | None = None) -> Vectors:
        """See ``Backend.encode``; ``on_done`` is called in the calling thread, after each batch."""
        call = EncodeCall(prompts, on_done, short=self.loop.is_short(prompts))
        self.loop.complete(call)
        return np.stack(call.states)

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
        return self._think(
            [
                ThoughtState.start(index, prompt, decoding, sample=sample, deadline=deadline, refining=refining)
                for index, (prompt, sample) in enumerate(product(prompts, range(samples)))
            ],
            on_tokens,
        )

    def refine(self, prompts: Sequence[Sequence[int]], refining: Refining) -> Vectors:
        """See ``Backend.refine``."""
        if not refining.steps:
            return self.encode(prompts)
        # These thoughts have ended before their first token, and only their refining is left.
        ended = [
            ThoughtState(index, prompt[:-1], Decoding(max_tokens=0), refining=refining, stop="emb_token")
            for index, prompt in enumerate(prompts)
        ]
        return np.stack([trajectory.state for trajectory in self._think(ended)])

    def close(self) -> None:
        """Do nothing: everything runs in this process, and in the threads that call."""

    def _think(self, thoughts: Sequence[ThoughtState], on_tokens: OnTokens | None = None) -> list[Trajectory]:
        if not thoughts:
            return []
        # Prompts of similar length share a batch if it is a rectangle.
        ordered = sorted(thoughts, key=lambda thought: -len(thought.prompt)) if self.model.padded else thoughts
        self.loop.complete(ThinkCall(ordered, on_tokens))
        return [thought.trajectory() for thought in thoughts]


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
        BackendError: There is not enough memory.
    """
    place = find_device(device)
    dtype = find_dtype(options.dtype, place)
    try:
        model = _load_model(checkpoint, options, place, dtype, own_decoder=own_decoder)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise BackendError(
            f"out of memory on {place} while the weights of {checkpoint.name!r} are loaded: {error}. Free some memory, "
            "or use a smaller dtype."
        ) from error
    if max(stop_ids) >= model.vocabulary:
        raise CheckpointError(
            f"the tokenizer's {checkpoint.spec.emb_token!r} is token {stop_ids[0]}, but the model in {checkpoint.path} "
            f"has only {model.vocabulary} embeddings: tokenizer and weights do not belong together"
        )
    share = None if sharing <= 1 else max(1, torch.get_num_threads() // sharing)
    threads = options.threads or (1 if checkpoint.hidden_size <= _SMALL else share)
    return LocalBackend(model, place, stop_ids=stop_ids, batch_tokens=options.batch_tokens, threads=threads)


def _load_model(
    checkpoint: Checkpoint, options: LoadingOptions, place: torch.device, dtype: torch.dtype, *, own_decoder: bool
) -> LocalModel:
    layer = _pooling_layer(checkpoint)
    config = decoder_config(checkpoint, place) if own_decoder else None
    if config is not None:
        assert isinstance(checkpoint.files, CheckpointFolder)
        weights = load_weights(checkpoint.files, config, dtype=dtype, device=place, head=checkpoint.spec.thinks)
        return DecoderModel(Decoder(config, weights), pooling_layer=layer)
    try:
        from t1_vectorstore.backends.transformers_model import TransformersModel, load_causal_model
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "transformers":
            raise
        raise MissingExtraError("local", "the local backend") from error
    with checkpoint.in_folder() as whole:
        causal = load_causal_model(whole, dtype, remote_code=options.remote_code).to(place)
    return TransformersModel(causal, pooling_layer=layer, device=place)


def _pooling_layer(checkpoint: Checkpoint) -> int:
    """Return the specification's pooling layer counted from 0, which are the embeddings."""
    layers = checkpoint.layers
    layer = checkpoint.spec.pooling_layer
    if not -layers - 1 <= layer <= layers:
        raise ValueError(f"pooling_layer={layer}, but {checkpoint.name!r} has {layers} layers")
    return layer % (layers + 1)
