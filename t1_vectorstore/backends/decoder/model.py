"""The lean path: the local backend's own decoder, without transformers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from t1_vectorstore.backends.decoder.attention import Documents
from t1_vectorstore.backends.decoder.config import DecoderConfig
from t1_vectorstore.backends.decoder.decoder import Decoder
from t1_vectorstore.backends.decoder.kv_cache import SlotCache
from t1_vectorstore.backends.decoder.scheduler import Scheduler, read_prompts, shared_prefix_length
from t1_vectorstore.backends.decoder.weights import load_weights
from t1_vectorstore.backends.decoding import Sampler, ThoughtState
from t1_vectorstore.checkpoints.checkpoint import Checkpoint

DEVICES = frozenset({"cpu", "cuda"})
"""Where the lean path is taken: its rotations are complex numbers, which not every device has."""


def decoder_config(checkpoint: Checkpoint, device: torch.device) -> DecoderConfig | None:
    """The decoder that the lean path would compute; ``None`` where transformers has to."""
    return DecoderConfig.read(checkpoint.config) if device.type in DEVICES else None


class DecoderModel:
    """A :class:`~t1_vectorstore.backends.local.LocalModel`."""

    padded = False

    def __init__(self, decoder: Decoder, *, depth: int, dtype: torch.dtype) -> None:
        """Take a decoder, the states that are pooled, and the type it computes in."""
        self.decoder = decoder
        self.vocabulary = decoder.shape.vocabulary
        self._depth, self._dtype = depth, dtype

    @classmethod
    def load(
        cls, checkpoint: Checkpoint, shape: DecoderConfig, *, depth: int, dtype: torch.dtype, device: torch.device
    ) -> DecoderModel:
        """Read the weights; without the matrix for logits if the checkpoint does not think.

        Raises:
            CheckpointError: weights that do not load.
        """
        weights = load_weights(checkpoint.path, shape, dtype=dtype, device=device, head=checkpoint.spec.thinks)
        return cls(Decoder(shape, weights), depth=depth, dtype=dtype)

    def encode(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """The pooled state at the last token of each sequence, ``(rows, hidden)``."""
        device, lengths = self.decoder.device, [len(row) for row in rows]
        ids = torch.tensor([token for row in rows for token in row], device=device)
        positions = torch.cat([torch.arange(length, device=device) for length in lengths])
        ends = torch.tensor(lengths, device=device).cumsum(0) - 1
        return self.decoder(ids, positions, Documents(lengths), depth=self._depth, through=False, ends=ends).pooled

    def shared_prefix(self, prompts: Sequence[Sequence[int]]) -> int:
        """How many tokens that all prompts begin with are read and held once."""
        return shared_prefix_length(prompts)

    def generate(
        self, rows: Sequence[ThoughtState], make_sampler: Callable[..., Sampler], *, max_batch: int, prefill_tokens: int
    ) -> None:
        """Bring every row to its end."""
        sampler = make_sampler(self.decoder.logits)
        start = shared_prefix_length([row.prompt for row in rows])
        longest = max(len(row.prompt) + row.refining.steps for row in rows) + sampler.decoding.max_tokens + 1
        before = None
        if start:
            before = self._cache(1, start)
            read_prompts(self.decoder, before, [rows[0].prompt[:start]], 0, depth=self.decoder.shape.layers)
        cache = self._cache(max_batch, longest - start, before)
        Scheduler(self.decoder, cache, sampler, depth=self._depth, prefill_tokens=prefill_tokens).run(rows)

    def _cache(self, slots: int, tokens: int, before: SlotCache | None = None) -> SlotCache:
        shape, device = self.decoder.shape, self.decoder.device
        return SlotCache(shape, slots=slots, tokens=tokens, dtype=self._dtype, device=device, before=before)
