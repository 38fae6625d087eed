"""The local backend: any causal language model that transformers can load, on CPU or GPU."""

from __future__ import annotations

import platform
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, Cache
from transformers.utils import logging

from t1_vectorstore.backends.decoding import ThoughtLoop
from t1_vectorstore.backends.memory import TokenBudget
from t1_vectorstore.backends.packing import PACKED_ATTENTION, can_pack, forward_packed
from t1_vectorstore.checkpoint import Checkpoint, Decoding
from t1_vectorstore.errors import CheckpointError
from t1_vectorstore.types import Trajectory, Vectors

BATCH_TOKENS = {"cpu": 2048, "cuda": 32_768, "mps": 8192}
"""Tokens of a forward pass, by device type. On a CPU more only costs memory: the matrices are large enough."""

_SMALL = 384
"""Hidden states up to this length are computed by one thread: sharing such small matrices gains little on idle cores,
and on busy ones threads that wait for each other were measured to take five times as long."""


_NO_STATE = np.empty(0, np.float32)


class TransformersBackend:
    """Runs a checkpoint with torch; one call at a time, so that it can be shared between threads."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        emb_id: int,
        stop_ids: Sequence[int],
        device: str = "auto",
        dtype: str = "auto",
        batch_tokens: int | None = None,
        threads: int | None = None,
        sharing: int = 1,
        remote_code: bool = False,
    ) -> None:
        """Load the weights.

        Args:
            checkpoint: the folder and its specification.
            emb_id: the emb token.
            stop_ids: the tokens that end a thought, the emb token among them.
            device: ``auto`` takes a GPU where there is one; else as torch names it.
            dtype: ``auto`` takes bfloat16 where the device computes in it, else float32.
            batch_tokens: tokens of a forward pass, the padding of thoughts included.
            threads: of a CPU, while the model runs; ``None`` takes one for a small model, else torch's own number.
            sharing: how many processes on this CPU will do the same.
            remote_code: run the checkpoint's own Python code.

        Raises:
            ValueError: a device or dtype that this machine does not have, a batch size or number of threads below 1.
            CheckpointError: weights that do not load, or have no row for the emb token.
        """
        self.device = _device(device)
        self.dtype = _dtype(dtype, self.device)
        for name, number in (("batch_tokens", batch_tokens), ("threads", threads)):
            if number is not None and not (isinstance(number, int) and number >= 1):
                raise ValueError(f"{name} must be a whole number of at least 1, got {number!r}")
        own = None if sharing <= 1 else max(1, torch.get_num_threads() // sharing)
        self._threads = threads or (1 if checkpoint.hidden_size <= _SMALL else own)
        self._budget = TokenBudget(batch_tokens or BATCH_TOKENS.get(self.device.type, 8192), self.device)
        self._packs = self.device.type == "cpu" and can_pack(checkpoint.config)
        model = _load(checkpoint, self.dtype, PACKED_ATTENTION if self._packs else None, remote_code)
        vocabulary = model.get_input_embeddings().weight.shape[0]
        if max(emb_id, *stop_ids) >= vocabulary:
            raise CheckpointError(
                f"the tokenizer's {checkpoint.spec.emb_token!r} is token {emb_id}, but the model in {checkpoint.path} "
                f"has only {vocabulary} embeddings: tokenizer and weights do not belong together"
            )
        self._model = model.to(self.device).eval()
        self._decoder = model.get_decoder()
        self._layer = checkpoint.spec.pooling_layer
        layers = checkpoint.config.get("text_config", checkpoint.config)["num_hidden_layers"]
        if not -layers - 1 <= self._layer <= layers:
            raise ValueError(f"pooling_layer={self._layer}, but {checkpoint.name!r} has {layers} layers")
        self._loop = ThoughtLoop(
            self._step, model.get_output_embeddings(), emb_id=emb_id, stop_ids=stop_ids, device=self.device
        )
        self._lock = threading.Lock()

    def encode(self, prompts: Sequence[Sequence[int]], *, on_done: Callable[[int], None] | None = None) -> Vectors:
        """The hidden state at each prompt's last token, float32 ``(n, hidden)``, in order.

        Args:
            prompts: token ids, each ending with the emb token.
            on_done: told how many prompts each batch finished.
        """
        states: list[npt.NDArray[np.float32]] = [_NO_STATE] * len(prompts)

        def run(batch: Sequence[int]) -> Vectors:
            rows = [prompts[row] for row in batch]
            with self._running():
                ends = self._packed_ends(rows) if self._packs else self._padded_ends(rows)
                return ends.float().cpu().numpy()

        for batch, ends in self._budget.run([len(p) for p in prompts], run, padded=not self._packs):
            for row, state in zip(batch, ends, strict=True):
                states[row] = state
            if on_done is not None:
                on_done(len(batch))
        return np.stack(states)

    def think(
        self, prompts: Sequence[Sequence[int]], decoding: Decoding, *, deadline: float | None = None
    ) -> list[Trajectory]:
        """Generate a thought for each prompt, and the hidden state at the emb token that closes it, in order.

        Args:
            prompts: token ids up to where the thought begins.
            decoding: budget and sampling.
            deadline: ``time.monotonic()`` after which thoughts are closed as they stand.
        """
        trajectories: list[Any] = [None] * len(prompts)
        lengths = [len(prompt) + decoding.max_tokens for prompt in prompts]

        def run(batch: Sequence[int]) -> list[Trajectory]:
            with self._running():
                return self._loop.run([prompts[row] for row in batch], decoding, deadline)

        for batch, thoughts in self._budget.run(lengths, run, padded=True):
            for row, thought in zip(batch, thoughts, strict=True):
                trajectories[row] = thought
        return trajectories

    def close(self) -> None:
        """Nothing runs beside this process."""

    def _packed_ends(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        ends = torch.tensor([len(row) for row in rows], device=self.device).cumsum(0) - 1
        return self._pooled(lambda **kwargs: forward_packed(self._decoder, rows, self.device, **kwargs))[0, ends]

    def _padded_ends(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        # Padded on the right, where a causal model never looks: neither a mask nor position ids are needed.
        width = max(map(len, rows))
        ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=self.device)
        ends = torch.tensor([len(row) - 1 for row in rows], device=self.device)
        states = self._pooled(lambda **kwargs: self._decoder(input_ids=ids, use_cache=False, **kwargs))
        return states[torch.arange(len(rows), device=self.device), ends]

    def _step(
        self, tokens: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: Cache
    ) -> tuple[torch.Tensor, torch.Tensor]:
        output = self._decoder(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            output_hidden_states=self._layer != -1,
        )
        last: torch.Tensor = output.last_hidden_state
        return (last if self._layer == -1 else output.hidden_states[self._layer]), last

    def _pooled(self, forward: Callable[..., Any]) -> torch.Tensor:
        output = forward(output_hidden_states=self._layer != -1)
        states: torch.Tensor = output.last_hidden_state if self._layer == -1 else output.hidden_states[self._layer]
        return states

    @contextmanager
    def _running(self) -> Iterator[None]:
        """One forward pass at a time, without gradients."""
        with self._lock, torch.inference_mode():
            before = torch.get_num_threads()
            torch.set_num_threads(self._threads or before)
            try:
                yield
            finally:
                torch.set_num_threads(before)


def _load(checkpoint: Checkpoint, dtype: torch.dtype, attention: str | None, remote_code: bool) -> Any:  # noqa: ANN401
    """A model of whatever class the configuration names."""
    loader: Any = AutoModelForCausalLM
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call] # a library does not draw on its user's terminal
    try:
        model, report = loader.from_pretrained(
            checkpoint.path,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=remote_code,
            local_files_only=True,
            output_loading_info=True,
            **({"attn_implementation": attention} if attention else {}),
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"{checkpoint.path} does not load as a causal language model: {error}") from error
    finally:
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
    if absent := sorted(report["missing_keys"]):  # transformers would go on with random values in their place
        raise CheckpointError(
            f"{checkpoint.path} lacks weights its config.json asks for: {absent[:3]} ({len(absent)} in all)"
        )
    return model


def _device(name: str) -> torch.device:
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"device {name!r} is not on this machine: {error}".splitlines()[0]) from error
    return device


def _dtype(name: str, device: torch.device) -> torch.dtype:
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name != "auto":
        if name not in known:
            raise ValueError(f"dtype must be 'auto' or one of {sorted(known)}, got {name!r}")
        return known[name]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.bfloat16 if device.type == "cpu" and _cpu_computes_in_bfloat16() else torch.float32


def _cpu_computes_in_bfloat16() -> bool:
    if platform.machine() not in ("x86_64", "AMD64"):
        return False
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
