"""Attention by products of whole matrices: on a CPU faster than torch's fused kernel, where there is enough to do.

All queries that look at the same keys are the rows of one matrix. That is those of all heads that share keys, and with
a start that all sequences share, those of all sequences: so that start is read once for all of them.
"""

from __future__ import annotations

from functools import lru_cache

import torch

Shared = tuple[torch.Tensor, torch.Tensor]
"""Keys and values of the tokens that all sequences begin with, each ``(kv_heads, tokens, head_dim)``."""

_BLOCK = 128
"""Queries of each head in one product: a causal mask leaves half of a square unused, but little of a narrow band."""

_FEW = 16
"""Queries up to which the keys are multiplied where they lie; for more it pays to lay them out anew."""


def attend(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    mask: torch.Tensor | None = None,
    shared: Shared | None = None,
) -> torch.Tensor:
    """Attention of all queries to what is shared and to the keys of their own sequence.

    Args:
        queries: ``(sequences, kv_heads, group, n, head_dim)``, a group being the heads that share keys.
        keys: ``(sequences, kv_heads, m, head_dim)``.
        values: as the keys.
        mask: added to the scores of the last keys, ``(..., n, keys)``.
        shared: what comes before the keys in all sequences.

    Returns:
        As the queries.
    """
    sequences, heads, group, n, size = queries.shape
    asked = queries.reshape(sequences * heads, group * n, size)
    own = keys.flatten(0, 1)
    scores = _product(own, asked.mT, size).mT if group * n <= _FEW else _product(asked, own.mT, size)
    scores = scores.view(sequences, heads, group * n, -1)
    if shared is not None:
        of_all = _by_head(asked.view(sequences, heads, -1, size))
        before = _product(of_all, shared[0].mT, size)
        scores = torch.cat([_by_sequence(before, sequences), scores], dim=-1)
    if mask is not None:
        scores.view(*queries.shape[:4], -1)[..., -mask.shape[-1] :] += mask
    weights = scores.softmax(-1)
    seen = torch.bmm(weights[..., -keys.shape[2] :].flatten(0, 1), values.flatten(0, 1)).view(*scores.shape[:3], size)
    if shared is not None:
        before = torch.bmm(_by_head(weights[..., : -keys.shape[2]]), shared[1])
        seen += _by_sequence(before, sequences)
    return seen.view(queries.shape)


def attend_causally(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, shared: Shared | None = None
) -> torch.Tensor:
    """The same of the last tokens of each sequence to all before them, a block of them at a time.

    Args:
        queries: ``(sequences, heads, n, head_dim)``.
        keys: ``(sequences, kv_heads, m, head_dim)``, ``m >= n``; the last of them belong to the queries.
        values: as the keys.
        shared: what comes before the keys in all sequences.
    """
    n, m = queries.shape[2], keys.shape[2]
    keys, values = keys.contiguous(), values.contiguous()
    grouped = queries.view(len(queries), keys.shape[1], -1, *queries.shape[2:])
    out = torch.empty_like(queries.transpose(1, 2), memory_format=torch.contiguous_format)
    for start in range(0, n, _BLOCK):
        stop = min(start + _BLOCK, n)
        seen = m - n + stop
        mask = _later(queries.dtype, queries.device)[: stop - start, : stop - start]
        block = attend(grouped[:, :, :, start:stop], keys[:, :, :seen], values[:, :, :seen], mask, shared)
        out[:, start:stop] = block.flatten(1, 2).transpose(1, 2)
    return out.transpose(1, 2)


@lru_cache(maxsize=4)
def _later(dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """A block's mask of what comes later."""
    return torch.full((_BLOCK, _BLOCK), float("-inf"), dtype=dtype, device=device).triu(1)


def _product(left: torch.Tensor, right: torch.Tensor, size: int) -> torch.Tensor:
    """Of two batches of matrices, over the root of the heads' size."""
    return torch.baddbmm(left.new_empty(1, 1, 1), left, right, beta=0, alpha=size**-0.5)


def _by_head(rows: torch.Tensor) -> torch.Tensor:
    """``(sequences, kv_heads, n, a)`` as ``(kv_heads, sequences * n, a)``."""
    return rows.transpose(0, 1).flatten(1, 2)


def _by_sequence(rows: torch.Tensor, sequences: int) -> torch.Tensor:
    """Back again."""
    return rows.view(rows.shape[0], sequences, -1, rows.shape[-1]).transpose(0, 1)
