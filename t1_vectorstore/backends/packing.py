"""Several sequences end to end in one row, each attending only to itself: no padding, no masks.

The linear layers see one long row; only attention has to know where a sequence ends. Sequences of equal length lie
next to each other and share one attention call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

PACKED_ATTENTION = "t1_packed"

FAMILIES = frozenset({"qwen2", "qwen3", "llama"})
"""Model types whose packed forward pass the tests prove equal to one sequence at a time."""


def can_pack(config: Mapping[str, Any]) -> bool:
    """Whether a model's configuration is one that packed attention computes exactly: plain causal, whole sequences."""
    return config.get("model_type") in FAMILIES and not config.get("use_sliding_window")


def forward_packed(
    decoder: torch.nn.Module,
    rows: Sequence[Sequence[int]],
    device: torch.device,
    **kwargs: Any,  # noqa: ANN401 - for the decoder
) -> Any:  # noqa: ANN401 - the family's own output class
    """One forward pass over sequences laid end to end; the decoder must use ``PACKED_ATTENTION``."""
    lengths = [len(row) for row in rows]
    return decoder(
        input_ids=torch.tensor([[token for row in rows for token in row]], device=device),
        position_ids=torch.cat([torch.arange(length, device=device) for length in lengths])[None],
        # Four dimensions tell transformers that the mask is ready, so that it builds none; packed attention needs none.
        attention_mask=torch.empty(1, 1, 1, 1, device=device),
        t1_lengths=[(length, sum(1 for _ in same)) for length, same in groupby(lengths)],
        use_cache=False,
        **kwargs,
    )


def _packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    t1_lengths: Sequence[tuple[int, int]] | None = None,
    scaling: float | None = None,
    **kwargs: Any,  # noqa: ANN401 - transformers' interface
) -> tuple[torch.Tensor, None]:
    if t1_lengths is None:
        output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
        return output, None
    grouped = query.shape[1] != key.shape[1]
    outputs, start = [], 0
    for length, count in t1_lengths:
        end = start + length * count
        # (1, heads, count * length, head_dim) -> (count, heads, length, head_dim)
        q, k, v = (
            states[0, :, start:end].reshape(states.shape[1], count, length, -1).transpose(0, 1)
            for states in (query, key, value)
        )
        attended = torch.nn.functional.scaled_dot_product_attention(
            q, k, v, is_causal=True, scale=scaling, enable_gqa=grouped
        )
        outputs.append(attended.transpose(1, 2).flatten(0, 1))
        start = end
    return torch.cat(outputs)[None], None


AttentionInterface.register(PACKED_ATTENTION, _packed_attention)
AttentionMaskInterface.register(PACKED_ATTENTION, sdpa_mask)
