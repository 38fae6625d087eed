"""The forward pass of the Llama kind of decoders, in plain torch: no padding, no logits nobody asked for.

It is what transformers computes for the families of :mod:`t1_vectorstore.backends.decoder.config`, to rounding. Tokens of
all sequences lie end to end in one row; only attention knows where one ends. In the last layer only the tokens whose
states are wanted go through the feed-forward part.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.nn.functional import silu

from t1_vectorstore.backends.decoder.attention import Attention
from t1_vectorstore.backends.decoder.config import DecoderConfig
from t1_vectorstore.backends.decoder.layers import rotate, rotations
from t1_vectorstore.backends.decoder.weights import DecoderWeights, LayerWeights


class States(NamedTuple):
    """Hidden states ``(wanted, hidden)``: of the layer that is pooled, and of the last layer that was computed."""

    pooled: torch.Tensor
    final: torch.Tensor


class Decoder:
    """Token ids to hidden states."""

    def __init__(self, shape: DecoderConfig, weights: DecoderWeights) -> None:
        """Join a shape with its weights."""
        self.shape = shape
        self._weights = weights
        self.device = weights.embeddings.device
        self._frequencies = shape.rope.frequencies(shape.head_dim).to(self.device)

    def __call__(
        self,
        ids: torch.Tensor,
        positions: torch.Tensor,
        attention: Attention,
        *,
        depth: int,
        through: bool = True,
        ends: torch.Tensor | None = None,
        inputs: torch.Tensor | None = None,
    ) -> States:
        """Hidden states as transformers counts them: 0 are the embeddings, the last are those after the final norm.

        Args:
            ids: ``(tokens,)``, the sequences end to end.
            positions: of the tokens in their sequences.
            attention: of these sequences.
            depth: which states are pooled.
            through: go on to the last layer, which is needed for logits.
            ends: the tokens whose last states are wanted, one for each sequence; all where it is ``None``.
            inputs: ``(tokens, hidden)``, in place of the tokens' embeddings.
        """
        states = self.embed(ids) if inputs is None else inputs
        turns = rotations(self._frequencies, self.shape.rope.scale, positions)
        layers = self._weights.layers if through else self._weights.layers[:depth]
        pooled = states
        for at, layer in enumerate(layers, start=1):
            states = self._layer(at - 1, layer, states, turns, attention, ends if at == len(layers) else None)
            pooled = states if at == depth else pooled
        if ends is not None and not layers:
            states = states[ends]
        if len(layers) == self.shape.layers:
            states = self._weights.norm(states)
        if depth >= len(layers):
            return States(states, states)
        return States(pooled if ends is None else pooled[ends], states)

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """The tokens' embeddings, ``(tokens, hidden)``."""
        return self._weights.embeddings[ids]

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """Over the vocabulary, float32, of states after the final norm."""
        assert self._weights.head is not None
        return self._weights.head(states).float()

    def _layer(
        self,
        at: int,
        layer: LayerWeights,
        states: torch.Tensor,
        turns: torch.Tensor,
        attention: Attention,
        wanted: torch.Tensor | None,
    ) -> torch.Tensor:
        shape = self.shape
        heads = layer.qkv(layer.attention_norm(states)).view(len(states), -1, shape.head_dim)
        turning = shape.heads + shape.kv_heads
        turned = heads[:, :turning].float()
        if layer.qk_norm is not None:
            turned = layer.qk_norm.of_heads(turned)
        rotate(turned, turns)
        if turned.data_ptr() != heads.data_ptr():  # in float32 all of it may have been done in its place
            heads[:, :turning] = turned
        queries, keys_values = heads[:, : shape.heads], heads[:, shape.heads :]
        if wanted is not None:
            queries, states = queries[wanted], states[wanted]
        seen = attention(at, queries, keys_values).flatten(1)
        states = layer.output.onto(states, seen)
        gate, up = layer.gate_up(layer.mlp_norm(states)).chunk(2, dim=-1)
        return layer.down.onto(states, silu(gate).mul_(up))
