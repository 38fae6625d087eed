"""Attention by products of large matrices. On a CPU this is faster than torch's fused kernel if there is enough to do.

All queries that attend to the same keys become the rows of one matrix: those of the heads that share keys, and for a
prefix that all sequences share, those of all sequences, so that the prefix is read once for all of them.
"""

from __future__ import annotations

from functools import lru_cache

import torch

Prefix = tuple[torch.Tensor, torch.Tensor]
"""Keys and values of the tokens that all sequences start with, each ``(kv_heads, tokens, head_dim)``."""

_BLOCK = 128
"""Queries of each head in one product. A causal mask hides half of a square, but little of a narrow block."""

_FEW_QUERIES = 16
"""Up to this many queries the keys are the left factor, as they lie in memory; more are worth a rearrangement."""


def attend(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    mask: torch.Tensor | None = None,
    prefix: Prefix | None = None,
) -> torch.Tensor:
    """Compute the attention of all queries to the prefix and to the keys of their own sequence.

    Args:
        queries: ``(sequences, kv_heads, group, n, head_dim)``, where a group is the heads that share keys.
        keys: ``(sequences, kv_heads, m, head_dim)``.
        values: As ``keys``.
        mask: Term that is added to the scores of the last keys, ``(..., n, keys)``.
        prefix: Keys and values that come before those of every sequence.

    Returns:
        The outputs, in the shape of ``queries``.
    """
    sequences, kv_heads, group, n, head_dim = queries.shape
    # 1. Scores for the keys of each sequence: one product for each sequence and key head.
    rows = queries.reshape(sequences * kv_heads, group * n, head_dim)
    own = keys.flatten(0, 1)
    scores = _scores(own, rows.mT).mT if group * n <= _FEW_QUERIES else _scores(rows, own.mT)
    scores = scores.view(sequences, kv_heads, group * n, -1)
    # 2. Scores for the prefix, in front: one product for each key head, with the queries of all sequences as rows.
    if prefix is not None:
        all_rows = _merge_sequences(rows.view(sequences, kv_heads, -1, head_dim))
        scores = torch.cat([_split_sequences(_scores(all_rows, prefix[0].mT), sequences), scores], dim=-1)
    # 3. Hide later tokens, and normalise over prefix and own keys together.
    if mask is not None:
        scores.view(*queries.shape[:4], -1)[..., -mask.shape[-1] :] += mask
    weights = scores.softmax(-1)
    # 4. Weighted sums of the values, again apart for own keys and prefix, and added.
    m = keys.shape[2]
    outputs = torch.bmm(weights[..., -m:].flatten(0, 1), values.flatten(0, 1)).view(*scores.shape[:3], head_dim)
    if prefix is not None:
        outputs += _split_sequences(torch.bmm(_merge_sequences(weights[..., :-m]), prefix[1]), sequences)
    return outputs.view(queries.shape)


def attend_causally(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, prefix: Prefix | None = None
) -> torch.Tensor:
    """Compute causal attention of the last tokens of each sequence, one block of queries after the other.

    Args:
        queries: ``(sequences, heads, n, head_dim)``.
        keys: ``(sequences, kv_heads, m, head_dim)`` with ``m >= n``; the last ``n`` belong to the queries.
        values: As ``keys``.
        prefix: Keys and values that come before those of every sequence.
    """
    n, m = queries.shape[2], keys.shape[2]
    keys, values = keys.contiguous(), values.contiguous()
    grouped = queries.view(len(queries), keys.shape[1], -1, *queries.shape[2:])
    outputs = torch.empty_like(queries.transpose(1, 2), memory_format=torch.contiguous_format)
    for start in range(0, n, _BLOCK):
        # A block attends to all earlier keys without a mask, and to its own ones under a triangular mask.
        stop = min(start + _BLOCK, n)
        visible = m - n + stop
        mask = _triangular_mask(queries.dtype, queries.device)[: stop - start, : stop - start]
        block = attend(grouped[:, :, :, start:stop], keys[:, :, :visible], values[:, :, :visible], mask, prefix)
        outputs[:, start:stop] = block.flatten(1, 2).transpose(1, 2)
    return outputs.transpose(1, 2)


@lru_cache(maxsize=4)
def _triangular_mask(dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    return torch.full((_BLOCK, _BLOCK), float("-inf"), dtype=dtype, device=device).triu(1)


def _scores(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Multiply two batches of matrices, of queries and keys, and divide by the square root of the heads' size."""
    return torch.baddbmm(left.new_empty(1, 1, 1), left, right, beta=0, alpha=left.shape[-1] ** -0.5)


def _merge_sequences(rows: torch.Tensor) -> torch.Tensor:
    """Reshape ``(sequences, kv_heads, n, a)`` to ``(kv_heads, sequences * n, a)``."""
    return rows.transpose(0, 1).flatten(1, 2)


def _split_sequences(rows: torch.Tensor, sequences: int) -> torch.Tensor:
    """Undo ``_merge_sequences``."""
    return rows.view(rows.shape[0], sequences, -1, rows.shape[-1]).transpose(0, 1)
