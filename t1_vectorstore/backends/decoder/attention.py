"""Causal attention over several sequences at once, without padding.

Prefill computes whole sequences, documents or prompts; decode steps compute the next input of each thought. The decoder
calls either one in each layer with the queries ``(n, heads, head_dim)``, and the keys and values
``(n, 2 * kv_heads, head_dim)``, of all sequences' tokens, which follow each other without gaps, and gets the outputs in
the shape of the queries. In the last layer there may be only one query for each sequence, that of its last token.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TypeAlias

import torch
from torch.nn.functional import scaled_dot_product_attention

from t1_vectorstore.backends.decoder.kv_cache import KVCache
from t1_vectorstore.backends.decoder.matmul_attention import Prefix, attend, attend_causally

_MIN_QUERIES = {torch.bfloat16: 32, torch.float32: 192}
"""Queries of a head from which ``.matmul_attention`` is faster than torch's fused kernel, on a CPU."""

_MIN_THOUGHTS = 8
"""Number of thoughts from which the same holds for decode steps."""


class PrefillAttention:
    """Attention of whole sequences: of documents, or of prompts, whose keys and values are cached.

    Consecutive sequences of the same length are computed together.
    """

    def __init__(self, lengths: Sequence[int], cache: KVCache | None = None, first_slot: int = 0) -> None:
        """Prepare a forward pass.

        Args:
            lengths: Length of each sequence in tokens, without the cache's prefix.
            cache: Cache for the keys and values. Its prefix comes before each sequence.
            first_slot: Slot of the first sequence; the others get the following ones.
        """
        self._groups = [(length, sum(1 for _ in group)) for length, group in groupby(lengths)]
        self._cache, self._first_slot = cache, first_slot

    def __call__(self, layer: int, queries: torch.Tensor, keys_values: torch.Tensor) -> torch.Tensor:
        """Return the output for each query in a layer."""
        # 1. Split the tokens into groups of sequences of the same length, which form rectangles.
        tokens = [length * count for length, count in self._groups]
        query_counts = tokens if len(queries) == sum(tokens) else [count for _, count in self._groups]
        prefix = None if self._cache is None else self._cache.prefix(layer)
        slot, outputs = self._first_slot, []
        parts = zip(torch.split(queries, query_counts), torch.split(keys_values, tokens), self._groups, strict=True)
        for q, kv, (_, count) in parts:
            q, kv = q.view(count, -1, *q.shape[1:]), kv.view(count, -1, *kv.shape[1:])
            # 2. Store the keys and values, so that decode steps can read them.
            if self._cache is not None:
                self._cache.write_sequences(layer, slot, kv)
                slot += count
            # 3. Attend, with the heads in front of the tokens, and put the tokens end to end again.
            keys, values = kv.transpose(1, 2).chunk(2, dim=1)
            outputs.append(causal_attention(q.transpose(1, 2), keys, values, prefix).transpose(1, 2).flatten(0, 1))
        return torch.cat(outputs) if len(outputs) > 1 else outputs[0]


class DecodeAttention:
    """Attention of a decode step: the next input, or inputs, of the thoughts in the cache's first slots."""

    def __init__(self, cache: KVCache, positions: torch.Tensor, *, shortest: int, longest: int) -> None:
        """Prepare a forward pass.

        Args:
            cache: Cache with the keys and values of all earlier inputs.
            positions: Positions of the inputs in their sequences, ``(slots, n)``, on the device.
            shortest: Smallest of these positions, known on the CPU.
            longest: Largest of these positions.
        """
        self._cache, self._length, self._targets = cache, longest + 1, cache.targets(positions)
        self._slots, self._inputs = positions.shape
        self._mask: torch.Tensor | None = None
        if shortest < longest:  # otherwise no sequence ends before the others, and each input sees all that is read
            tokens = torch.arange(cache.prefix_length, longest + 1, device=positions.device)
            later = (tokens > positions[..., None])[:, None, None]
            self._mask = torch.zeros_like(later, dtype=cache.dtype).masked_fill_(later, float("-inf"))

    def __call__(self, layer: int, queries: torch.Tensor, keys_values: torch.Tensor) -> torch.Tensor:
        """Return the output for each query in a layer."""
        # 1. Store the new keys and values, then read those of the sequences so far, up to the longest one.
        self._cache.write_inputs(layer, self._targets, keys_values)
        keys, values = self._cache.read(layer, self._slots, self._length)
        prefix, mask = self._cache.prefix(layer), self._mask
        # 2. Heads that share keys become queries of one head, so that no keys have to be repeated.
        grouped = queries.view(self._slots, self._inputs, keys.shape[1], -1, queries.shape[-1]).permute(0, 2, 3, 1, 4)
        # 3. Attend: by torch's fused kernel, unless there is a prefix, or enough to do for matrix products on a CPU.
        if prefix is None and self._inputs == 1 and (queries.device.type != "cpu" or self._slots < _MIN_THOUGHTS):
            mask = None if mask is None else mask[:, 0]
            return scaled_dot_product_attention(grouped[:, :, :, 0], keys, values, attn_mask=mask).flatten(1, 2)
        return attend(grouped, keys, values, mask, prefix).permute(0, 3, 1, 2, 4).flatten(0, 1).flatten(1, 2)


Attention: TypeAlias = PrefillAttention | DecodeAttention


def causal_attention(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, prefix: Prefix | None = None
) -> torch.Tensor:
    """Compute causal attention of whole sequences, for every token or for the last one, by the faster method.

    Args:
        queries: ``(sequences, heads, n, head_dim)``.
        keys: ``(sequences, kv_heads, m, head_dim)``; ``n`` is ``m`` or 1.
        values: As ``keys``.
        prefix: Keys and values that come before those of every sequence.
    """
    n = queries.shape[2]
    if prefix is not None or (queries.device.type == "cpu" and n >= _MIN_QUERIES.get(queries.dtype, n + 1)):
        return attend_causally(queries, keys, values, prefix)
    grouped = queries.shape[1] != keys.shape[1]
    return scaled_dot_product_attention(queries, keys, values, is_causal=n > 1, enable_gqa=grouped)
