"""Causal attention over several sequences at once, without padding: of whole documents, of prompts, of single tokens.

Each kind is called by the decoder, layer after layer, with the queries ``(n, heads, head_dim)`` and the keys and
values ``(n, 2 * kv_heads, head_dim)`` of all sequences' tokens, laid end to end. In the last layer there may be one
query only for each sequence, that of its last token.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Protocol

import torch
from torch.nn.functional import scaled_dot_product_attention

from t1_vectorstore.backends.lean.cache import SlotCache

_BLOCK = 128
"""Queries of one product where attention is computed by products of whole matrices."""

_STEPS = 8
"""Sequences from which on their steps are computed so."""


class Attention(Protocol):
    """One forward pass's way to attend."""

    def __call__(self, layer: int, queries: torch.Tensor, keys_values: torch.Tensor) -> torch.Tensor:
        """What each query sees, ``(queries, heads, head_dim)``."""
        ...


class Documents:
    """Whole sequences; those of equal length that lie next to each other share one call."""

    def __init__(self, lengths: Sequence[int]) -> None:
        """Take the sequences' lengths in tokens, in their order."""
        self._groups = [(length, sum(1 for _ in same)) for length, same in groupby(lengths)]
        self._tokens = sum(lengths)

    def __call__(self, layer: int, queries: torch.Tensor, keys_values: torch.Tensor) -> torch.Tensor:
        """See :class:`Attention`."""
        counts = [length * count for length, count in self._groups]
        sizes = counts if len(queries) == self._tokens else [count for _, count in self._groups]
        seen = [
            causal(
                q.view(count, -1, *q.shape[1:]).transpose(1, 2),
                *kv.view(count, -1, *kv.shape[1:]).transpose(1, 2).chunk(2, dim=1),
            )
            .transpose(1, 2)
            .flatten(0, 1)
            for q, kv, (_, count) in zip(
                torch.split(queries, sizes), torch.split(keys_values, counts), self._groups, strict=True
            )
        ]
        return torch.cat(seen) if len(seen) > 1 else seen[0]


class Prompts:
    """Sequences that begin, or go on after what all slots share; they are remembered in the cache."""

    def __init__(self, cache: SlotCache, slots: Sequence[int], lengths: Sequence[int], *, start: int) -> None:
        """Tell where the sequences go.

        Args:
            cache: that remembers them.
            slots: one for each sequence.
            lengths: of the sequences in tokens, in their order.
            start: how many tokens before them are in the cache.
        """
        self._cache, self._slots, self._lengths, self._start = cache, slots, lengths, start

    def __call__(self, layer: int, queries: torch.Tensor, keys_values: torch.Tensor) -> torch.Tensor:
        """See :class:`Attention`."""
        whole = len(queries) == len(keys_values)
        asked = torch.split(queries, list(self._lengths) if whole else 1)
        seen = []
        for slot, q, kv in zip(self._slots, asked, torch.split(keys_values, list(self._lengths)), strict=True):
            self._cache.write_run(layer, slot, self._start, kv)
            keys, values = self._cache.read(layer, slot, slot + 1, self._start + len(kv))
            seen.append(causal(q.transpose(0, 1)[None], keys, values)[0].transpose(0, 1))
        return torch.cat(seen)


class Steps:
    """One token for each of the first slots."""

    def __init__(
        self,
        cache: SlotCache,
        slots: torch.Tensor,
        positions: torch.Tensor,
        *,
        shortest: int,
        longest: int,
        shared: int = 0,
    ) -> None:
        """Tell where the tokens stand.

        Args:
            cache: that remembers the tokens before.
            slots: ``0, 1, 2, ...``, on the device.
            positions: of the tokens in their sequences, on the device.
            shortest: the least of these positions.
            longest: the largest of them.
            shared: how many tokens all slots begin with.
        """
        self._cache, self._slots, self._positions, self._tokens = cache, slots, positions, longest + 1
        self._shared = shared
        self._seen: torch.Tensor | None = None
        if shortest < longest:
            self._seen = torch.arange(self._tokens, device=slots.device) <= positions[:, None, None, None]

    def __call__(self, layer: int, queries: torch.Tensor, keys_values: torch.Tensor) -> torch.Tensor:
        """See :class:`Attention`."""
        self._cache.write_each(layer, self._slots, self._positions, keys_values)
        keys, values = self._cache.read(layer, 0, len(queries), self._tokens)
        # The heads that share keys are queries of one head: nothing is repeated.
        grouped = queries.view(len(queries), keys.shape[1], -1, queries.shape[-1])
        if _products_are_faster(queries, len(queries), _STEPS):
            return _of_steps_by_products(grouped, keys, values, self._seen, self._shared).flatten(1, 2)
        return scaled_dot_product_attention(grouped, keys, values, attn_mask=self._seen).flatten(1, 2)


def causal(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Attention of the last tokens of each sequence to all before them.

    Args:
        queries: ``(sequences, heads, n, head_dim)``.
        keys: ``(sequences, kv_heads, m, head_dim)``, ``m >= n``; the last of them belong to the queries.
        values: as the keys.
    """
    n, m = queries.shape[2], keys.shape[2]
    if _products_are_faster(queries, n, _BLOCK // 4):
        return _by_products(queries, keys, values)
    grouped = queries.shape[1] != keys.shape[1]
    if n in (1, m):
        return scaled_dot_product_attention(queries, keys, values, is_causal=n > 1, enable_gqa=grouped)
    seen = torch.ones(n, m, dtype=torch.bool, device=queries.device).tril(m - n)
    return scaled_dot_product_attention(queries, keys, values, attn_mask=seen, enable_gqa=grouped)


def _products_are_faster(queries: torch.Tensor, count: int, least: int) -> bool:
    """On a CPU in bfloat16, whole matrix products take half the time of torch's fused kernel, if they are large."""
    return queries.device.type == "cpu" and queries.dtype == torch.bfloat16 and count >= least


def _by_products(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """The same by whole matrix products, for a block of queries at a time and only what these may see."""
    sequences, heads, n, size = queries.shape
    kv_heads, m = keys.shape[1:3]
    keys, values = keys.flatten(0, 1), values.flatten(0, 1)
    out = queries.new_empty(sequences, n, heads, size)
    for start in range(0, n, _BLOCK):
        stop = min(start + _BLOCK, n)
        seen = m - n + stop
        asked = queries[:, :, start:stop].reshape(sequences * kv_heads, -1, size)
        scores = torch.baddbmm(asked.new_empty(1, 1, 1), asked, keys[:, :seen].mT, beta=0, alpha=size**-0.5)
        own = scores.view(sequences, heads, -1, seen)[..., m - n + start :]
        own += own.new_full(own.shape[-2:], float("-inf")).triu(1)
        block = torch.bmm(scores.softmax(-1), values[:, :seen])
        out[:, start:stop] = block.view(sequences, heads, -1, size).transpose(1, 2)
    return out.transpose(1, 2)


def _of_steps_by_products(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, seen: torch.Tensor | None, shared: int
) -> torch.Tensor:
    """Attention of ``(slots, kv_heads, group, head_dim)`` where each slot has its own length.

    The first ``shared`` tokens are the same in all slots: one product for the queries of all reads them once.
    """
    scores = _each(queries, keys[:, :, shared:].contiguous().mT)  # where they lie it takes twice the time
    if shared:
        scores = torch.cat([_all(queries, keys[0, :, :shared].mT), scores], dim=-1)
    scores *= queries.shape[-1] ** -0.5
    if seen is not None:
        scores.masked_fill_(~seen, float("-inf"))
    weights = scores.softmax(-1)
    out = _each(weights[..., shared:], values[:, :, shared:])
    return out.add_(_all(weights[..., :shared], values[0, :, :shared])) if shared else out


def _each(rows: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
    """``(slots, kv_heads, group, a)`` by a matrix ``(a, b)`` for each slot and head."""
    return torch.bmm(rows.flatten(0, 1), matrices.flatten(0, 1)).view(*rows.shape[:3], -1)


def _all(rows: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
    """``(slots, kv_heads, group, a)`` by a matrix ``(a, b)`` for each head."""
    by_head = torch.bmm(rows.transpose(0, 1).flatten(1, 2), matrices)
    slots, heads, group = rows.shape[:3]
    return by_head.view(heads, slots, group, -1).transpose(0, 1)
