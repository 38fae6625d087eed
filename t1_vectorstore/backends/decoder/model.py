"""This package's own decoder as a model of the local backend, without transformers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from t1_vectorstore.backends.decoder.attention import PrefillAttention
from t1_vectorstore.backends.decoder.config import DecoderConfig
from t1_vectorstore.backends.decoder.decoder import Decoder
from t1_vectorstore.backends.decoder.scheduler import ThoughtBatch, concatenate
from t1_vectorstore.backends.decoding import Sampler
from t1_vectorstore.checkpoints.checkpoint import Checkpoint

DEVICES = frozenset({"cpu", "cuda"})
"""Device types that the decoder supports. Rotations are complex numbers, which not every device has."""


def decoder_config(checkpoint: Checkpoint, device: torch.device) -> DecoderConfig | None:
    """Return the decoder's configuration, or ``None`` if transformers has to run the model."""
    return DecoderConfig.read(checkpoint.config) if device.type in DEVICES else None


class DecoderModel:
    """A ``LocalModel``."""

    padded = False
    joins = True

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

    def start_batch(self, sampler: Sampler) -> ThoughtBatch:
        """Return an empty batch of thoughts, whose tokens are chosen by ``sampler``."""
        return ThoughtBatch(self.decoder, sampler, pooling_layer=self._pooling_layer)
