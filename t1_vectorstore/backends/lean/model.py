"""The lean path: the local backend's own decoder, without transformers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from t1_vectorstore.backends.decoding import Chooser, Row
from t1_vectorstore.backends.lean.attention import Documents
from t1_vectorstore.backends.lean.cache import SlotCache
from t1_vectorstore.backends.lean.decoder import Decoder
from t1_vectorstore.backends.lean.shape import DecoderShape
from t1_vectorstore.backends.lean.slots import SlotLoop, read_prompts, shared_start
from t1_vectorstore.backends.lean.weights import load_weights
from t1_vectorstore.checkpoint import Checkpoint

DEVICES = frozenset({"cpu", "cuda"})
"""Where the lean path is taken: its rotations are complex numbers, which not every device has."""


def lean_shape(checkpoint: Checkpoint, device: torch.device) -> DecoderShape | None:
    """The decoder that the lean path would compute; ``None`` where transformers has to."""
    return DecoderShape.read(checkpoint.config) if device.type in DEVICES else None


class LeanModel:
    """A :class:`~t1_vectorstore.backends.local.LocalModel`."""

    padded = False

    def __init__(self, decoder: Decoder, *, depth: int, dtype: torch.dtype) -> None:
        """Take a decoder, the states that are pooled, and the type it computes in."""
        self.decoder = decoder
        self.vocabulary = decoder.shape.vocabulary
        self._depth, self._dtype = depth, dtype

    @classmethod
    def load(
        cls, checkpoint: Checkpoint, shape: DecoderShape, *, depth: int, dtype: torch.dtype, device: torch.device
    ) -> LeanModel:
        """Read the weights; without the matrix for logits if the checkpoint does not think.

        Raises:
            CheckpointError: weights that do not load.
        """
        weights = load_weights(checkpoint.path, shape, dtype=dtype, device=device, head=checkpoint.spec.thinks)
        return cls(Decoder(shape, weights), depth=depth, dtype=dtype)

    def ends(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """The pooled state at the last token of each sequence, ``(rows, hidden)``."""
        device, lengths = self.decoder.device, [len(row) for row in rows]
        ids = torch.tensor([token for row in rows for token in row], device=device)
        positions = torch.cat([torch.arange(length, device=device) for length in lengths])
        ends = torch.tensor(lengths, device=device).cumsum(0) - 1
        return self.decoder(ids, positions, Documents(lengths), depth=self._depth, through=False, ends=ends).pooled

    def shared(self, prompts: Sequence[Sequence[int]]) -> int:
        """How many tokens that all prompts begin with are read and held once."""
        return shared_start(prompts)

    def think(self, rows: Sequence[Row], chooser_of: Callable[..., Chooser], *, at_once: int, prefill: int) -> None:
        """Bring every row to its end."""
        chooser = chooser_of(self.decoder.logits)
        start = shared_start([row.prompt for row in rows])
        longest = max(len(row.prompt) + row.refining.steps for row in rows) + chooser.decoding.max_tokens + 1
        before = None
        if start:
            before = self._cache(1, start)
            read_prompts(self.decoder, before, [rows[0].prompt[:start]], 0, depth=self.decoder.shape.layers)
        cache = self._cache(at_once, longest - start, before)
        SlotLoop(self.decoder, cache, chooser, depth=self._depth, prefill_tokens=prefill).run(rows)

    def _cache(self, slots: int, tokens: int, before: SlotCache | None = None) -> SlotCache:
        shape, device = self.decoder.shape, self.decoder.device
        return SlotCache(shape, slots=slots, tokens=tokens, dtype=self._dtype, device=device, before=before)
