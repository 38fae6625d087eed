"""The forward pass of Llama-style decoders in plain torch, without padding, and with logits only where they are needed.

It computes what transformers does, to rounding, for the families in ``t1_vectorstore.backends.decoder.config``. The
tokens of all sequences form one long sequence; only attention knows where one ends. In the last layer, the feed-forward
part is computed only for the tokens whose states are needed.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.nn.functional import silu

from t1_vectorstore.backends.decoder.attention import Attention
from t1_vectorstore.backends.decoder.config import DecoderConfig
from t1_vectorstore.backends.decoder.layers import rotate_, rotations
from t1_vectorstore.backends.decoder.weights import DecoderWeights, LayerWeights


class States(NamedTuple):
    """Hidden states ``(n, hidden)``: those of the pooling layer, and those of the last layer that was computed."""

    pooled: torch.Tensor
    final: torch.Tensor


class Decoder:
    """Computes hidden states from token ids."""

    def __init__(self, config: DecoderConfig, weights: DecoderWeights) -> None:
        self.config = config
        self._weights = weights
        self.device, self.dtype = weights.embeddings.device, weights.embeddings.dtype
        self._frequencies = config.rope.frequencies(config.head_dim).to(self.device)

    def __call__(
        self,
        ids: torch.Tensor,
        positions: torch.Tensor,
        attention: Attention,
        *,
        pooling_layer: int,
        all_layers: bool = True,
        ends: torch.Tensor | None = None,
        inputs: torch.Tensor | None = None,
    ) -> States:
        """Run a forward pass.

        Args:
            ids: Token ids ``(tokens,)`` of all sequences, one after the other.
            positions: The tokens' positions in their sequences.
            attention: Attention over these sequences.
            pooling_layer: Which states are pooled, counted as in transformers: 0 are the embeddings, the last ones are
                those after the final norm.
            all_layers: Also compute the layers after the pooling layer, which logits need.
            ends: Index of each sequence's last token, to return only their states. Default: all tokens.
            inputs: States ``(tokens, hidden)`` that replace the token embeddings.
        """
        states = self.embed(ids) if inputs is None else inputs
        rotation = rotations(self._frequencies, self.config.rope.scale, positions)
        layers = self._weights.layers if all_layers else self._weights.layers[:pooling_layer]
        pooled = states
        for number, layer in enumerate(layers, start=1):
            needed = ends if number == len(layers) else None
            states = self._layer(number - 1, layer, states, rotation, attention, needed)
            pooled = states if number == pooling_layer else pooled
        if ends is not None and not layers:
            states = states[ends]
        if len(layers) == self.config.layers:
            states = self._weights.norm(states)
        if pooling_layer >= len(layers):
            return States(states, states)
        return States(pooled if ends is None else pooled[ends], states)

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the token embeddings, ``(tokens, hidden)``."""
        return self._weights.embeddings[ids]

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """Return the logits ``(n, vocabulary)``, float32, of states after the final norm."""
        assert self._weights.head is not None
        return self._weights.head(states).float()

    def _layer(
        self,
        index: int,
        layer: LayerWeights,
        states: torch.Tensor,
        rotation: torch.Tensor,
        attention: Attention,
        needed: torch.Tensor | None,
    ) -> torch.Tensor:
        config = self.config
        # 1. Queries, keys and values are one product.
        heads = layer.qkv(layer.attention_norm(states)).view(len(states), -1, config.head_dim)
        # 2. Normalise (in some families) and rotate queries and keys, in float32.
        rotated_heads = config.heads + config.kv_heads
        rotated = heads[:, :rotated_heads].float()
        if layer.qk_norm is not None:
            rotated = layer.qk_norm.normalize_heads(rotated)
        rotate_(rotated, rotation)
        if rotated.data_ptr() != heads.data_ptr():  # in float32 without a norm, all of it happened in place
            heads[:, :rotated_heads] = rotated
        # 3. Attend: all tokens give keys and values, but only the needed ones continue.
        queries, keys_values = heads[:, : config.heads], heads[:, config.heads :]
        if needed is not None:
            queries, states = queries[needed], states[needed]
        states = layer.output.add(states, attention(index, queries, keys_values).flatten(1))
        # 4. The feed-forward part, whose two first matrices are one product.
        gate, up = layer.gate_up(layer.mlp_norm(states)).chunk(2, dim=-1)
        return layer.down.add(states, silu(gate).mul_(up))
