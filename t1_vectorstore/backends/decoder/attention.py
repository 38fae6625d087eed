"""Causal attention over several sequences at once, without padding: of whole documents, of prompts, of single tokens.

Each kind is called by the decoder, layer after layer, with the queries ``(n, heads, head_dim)`` and the keys and
values ``(n, 2 * kv_heads, head_dim)`` of all sequences' tokens, laid end to end. In the last layer there may be one
query only for each sequence, that of its last token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Protocol

import torch
from torch.nn.functional import scaled_dot_product_attention

from t1_vectorstore.backends.decoder.kv_cache import SlotCache
from t1_vectorstore.backends.decoder.matmul_attention import Shared, attend, attend_causally

_ENOUGH = {torch.bfloat16: 32, torch.float32: 192}
"""Queries of one head from which on whole products on a CPU take less time than torch's fused kernel."""

_STEPS = 8
"""Sequences from which on their steps do."""


class Attention(Protocol):
    """One forward pass's way to attend."""

    def __call__(self, layer: int, queries: torch.Tensor, keys_values: torch.Tensor) -> torch.Tensor:
        """What each query sees, ``(queries, heads, head_dim)``."""
        ...


class Documents:
    """Whole sequences; those of equal length that lie next to each other share one call."""

    def __init__(self, lengths: Sequence[int]) -> None:
        """Take the sequences' lengths in tokens, in their order."""
        self._groups = _groups(lengths)

    def __call__(self, layer: int, queries: torch.Tensor, keys_values: torch.Tensor) -> torch.Tensor:
        """See :class:`Attention`."""
        seen = []
        for q, kv in _split(queries, keys_values, self._groups):
            keys, values = kv.transpose(1, 2).chunk(2, dim=1)
            seen.append(_flat(causal(q.transpose(1, 2), keys, values)))
        return torch.cat(seen) if len(seen) > 1 else seen[0]


class Prompts:
    """Sequences that begin, or go on after what all slots share; they are remembered in neighbouring slots."""

    def __init__(self, cache: SlotCache, first: int, lengths: Sequence[int]) -> None:
        """Tell where the sequences go.

        Args:
            cache: that remembers them.
            first: slot, of the first sequence.
            lengths: of the sequences in tokens, in their order, what is shared not counted.
        """
        self._cache, self._first, self._groups = cache, first, _groups(lengths)

    def __call__(self, layer: int, queries: torch.Tensor, keys_values: torch.Tensor) -> torch.Tensor:
        """See :class:`Attention`."""
        slot, shared, seen = self._first, self._cache.shared(layer), []
        for q, kv in _split(queries, keys_values, self._groups):
            self._cache.write_runs(layer, slot, kv)
            keys, values = kv.transpose(1, 2).chunk(2, dim=1)
            seen.append(_flat(causal(q.transpose(1, 2), keys, values, shared)))
            slot += len(kv)
        return torch.cat(seen) if len(seen) > 1 else seen[0]


class Steps:
    """The next token, or tokens, of each of the first slots."""

    def __init__(self, cache: SlotCache, positions: torch.Tensor, *, shortest: int, longest: int) -> None:
        """Tell where the tokens stand.

        Args:
            cache: that remembers the tokens before.
            positions: of the tokens in their sequences, ``(slots, n)``, on the device.
            shortest: the least of these positions.
            longest: the largest of them.
        """
        self._cache, self._tokens, self._places = cache, longest + 1, cache.places(positions)
        self._slots, self._each = positions.shape
        self._later: torch.Tensor | None = None
        if shortest < longest:
            self._later = torch.arange(cache.start, self._tokens, device=positions.device) > positions[..., None]
        self._mask: torch.Tensor | None = None

    def __call__(self, layer: int, queries: torch.Tensor, keys_values: torch.Tensor) -> torch.Tensor:
        """See :class:`Attention`."""
        self._cache.write_each(layer, self._places, keys_values)
        keys, values = self._cache.read(layer, 0, self._slots, self._tokens)
        shared, mask = self._cache.shared(layer), self._hiding(queries.dtype)
        # The heads that share keys are queries of one head: nothing is repeated.
        grouped = queries.view(self._slots, self._each, keys.shape[1], -1, queries.shape[-1]).permute(0, 2, 3, 1, 4)
        if shared is None and self._each == 1 and (queries.device.type != "cpu" or self._slots < _STEPS):
            mask = None if mask is None else mask[:, 0]
            return scaled_dot_product_attention(grouped[:, :, :, 0], keys, values, attn_mask=mask).flatten(1, 2)
        return attend(grouped, keys, values, mask, shared).permute(0, 3, 1, 2, 4).flatten(0, 1).flatten(1, 2)

    def _hiding(self, dtype: torch.dtype) -> torch.Tensor | None:
        """What is added to the scores, ``(slots, 1, 1, n, tokens)``; the same for all layers."""
        if self._mask is None and self._later is not None:
            mask = torch.zeros(self._later.shape, dtype=dtype, device=self._later.device)
            self._mask = mask.masked_fill_(self._later, float("-inf"))[:, None, None]
        return self._mask


def causal(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, shared: Shared | None = None
) -> torch.Tensor:
    """Attention of whole sequences, of each token or of the last, to what came before.

    Args:
        queries: ``(sequences, heads, n, head_dim)``.
        keys: ``(sequences, kv_heads, m, head_dim)``; ``n`` is ``m`` or 1.
        values: as the keys.
        shared: what comes before the keys in all sequences.
    """
    n = queries.shape[2]
    if shared is not None or (queries.device.type == "cpu" and n >= _ENOUGH.get(queries.dtype, n + 1)):
        return attend_causally(queries, keys, values, shared)
    grouped = queries.shape[1] != keys.shape[1]
    return scaled_dot_product_attention(queries, keys, values, is_causal=n > 1, enable_gqa=grouped)


def _groups(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Each length and how many neighbours have it."""
    return [(length, sum(1 for _ in same)) for length, same in groupby(lengths)]


def _split(
    queries: torch.Tensor, keys_values: torch.Tensor, groups: Sequence[tuple[int, int]]
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Each group's queries, and its keys and values, ``(sequences, tokens, heads, head_dim)``."""
    sizes = [length * count for length, count in groups]
    asked = sizes if len(queries) == sum(sizes) else [count for _, count in groups]
    for q, kv, (_, count) in zip(torch.split(queries, asked), torch.split(keys_values, sizes), groups, strict=True):
        yield q.view(count, -1, *q.shape[1:]), kv.view(count, -1, *kv.shape[1:])


def _flat(seen: torch.Tensor) -> torch.Tensor:
    """``(sequences, heads, n, head_dim)`` as ``(sequences * n, heads, head_dim)``."""
    return seen.transpose(1, 2).flatten(0, 1)
