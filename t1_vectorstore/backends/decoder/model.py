"""This package's own decoder as a model of the local backend, without transformers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from t1_vectorstore.backends.batching import shared_prefix_length
from t1_vectorstore.backends.decoder.attention import PrefillAttention
from t1_vectorstore.backends.decoder.config import DecoderConfig
from t1_vectorstore.backends.decoder.decoder import Decoder
from t1_vectorstore.backends.decoder.kv_cache import KVCache
from t1_vectorstore.backends.decoder.scheduler import Scheduler, concatenate, prefill
from t1_vectorstore.backends.decoding import Sampler, ThoughtState
from t1_vectorstore.checkpoints.checkpoint import Checkpoint

DEVICES = frozenset({"cpu", "cuda"})
"""Device types that the decoder supports. Rotations are complex numbers, which not every device has."""


def decoder_config(checkpoint: Checkpoint, device: torch.device) -> DecoderConfig | None:
    """Return the decoder's configuration, or ``None`` if transformers has to run the model."""
    return DecoderConfig.read(checkpoint.config) if device.type in DEVICES else None


class DecoderModel:
    """A ``LocalModel``."""

    padded = False

    def __init__(self, decoder: Decoder, *, pooling_layer: int) -> None:
        self.decoder = decoder
        self.vocabulary = decoder.config.vocabulary
        self.logits: Callable[[torch.Tensor], torch.Tensor] = decoder.logits
        self._pooling_layer = pooling_layer

    def encode(self, sequences: Sequence[Sequence[int]]) -> torch.Tensor:
        """Return the pooled state at the last token of each sequence, ``(sequences, hidden)``."""
        ids, positions, ends = concatenate(sequences, self.decoder.device)
        attention = PrefillAttention([len(sequence) for sequence in sequences])
        layer = self._pooling_layer
        return self.decoder(ids, positions, attention, pooling_layer=layer, all_layers=False, ends=ends).pooled

    def shared_prefix(self, prompts: Sequence[Sequence[int]]) -> int:
        """Return how many of the tokens that all prompts start with are cached once for all of them."""
        return shared_prefix_length(prompts)

    def generate(
        self, thoughts: Sequence[ThoughtState], sampler: Sampler, *, max_batch: int, prefill_tokens: int
    ) -> None:
        """Complete all thoughts; see ``LocalModel.generate``."""
        shared = shared_prefix_length([thought.prompt for thought in thoughts])
        prefix = None
        if shared:
            # Computed up to the last layer, and by a cache of one slot, which all others then refer to.
            prefix = self._cache(1, shared)
            prompt = thoughts[0].prompt[:shared]
            prefill(self.decoder, prefix, [prompt], 0, pooling_layer=self.decoder.config.layers)
        longest = max(len(thought.prompt) + thought.refining.steps for thought in thoughts)
        tokens = longest - shared + sampler.decoding.max_tokens + 1
        cache = self._cache(max_batch, tokens, prefix)
        scheduler = Scheduler(
            self.decoder, cache, sampler, pooling_layer=self._pooling_layer, prefill_tokens=prefill_tokens
        )
        scheduler.run(thoughts)

    def _cache(self, slots: int, tokens: int, prefix: KVCache | None = None) -> KVCache:
        decoder = self.decoder
        return KVCache(decoder.config, slots, tokens, dtype=decoder.dtype, device=decoder.device, prefix=prefix)
