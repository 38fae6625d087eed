"""From logits to the next tokens, on the device; each row draws random numbers of its own."""

from __future__ import annotations

import torch

from t1_vectorstore.checkpoint import Decoding


def next_tokens(logits: torch.Tensor, decoding: Decoding, draws: torch.Tensor | None) -> torch.Tensor:
    """One token for each row.

    Args:
        logits: float32 ``(rows, vocabulary)``.
        decoding: how to choose.
        draws: uniform on [0, 1), one for each row; ``None`` where decoding is greedy.

    Returns:
        ``(rows,)``.
    """
    if draws is None:
        return logits.argmax(-1)
    logits = logits / decoding.temperature
    if 0 < decoding.top_k < logits.shape[-1]:
        least = logits.topk(decoding.top_k).values[:, -1:]
        logits = logits.masked_fill(logits < least, float("-inf"))
    if decoding.top_p < 1:
        logits = _nucleus(logits, decoding.top_p)
    # The token in whose share of [0, 1) the row's number falls. Float64: a large vocabulary has many small shares.
    edges = logits.softmax(-1).double().cumsum(-1)
    chosen = torch.searchsorted(edges, draws[:, None].double() * edges[:, -1:], right=True)
    return chosen[:, 0].clamp(max=logits.shape[-1] - 1)


def _nucleus(logits: torch.Tensor, top_p: float) -> torch.Tensor:
    """Without the least likely tokens that together have at most ``1 - top_p`` (arXiv:1904.09751)."""
    ascending, order = logits.sort(-1)
    unlikely = ascending.softmax(-1).cumsum(-1) <= 1 - top_p
    unlikely[:, -1] = False
    return logits.masked_fill(torch.zeros_like(unlikely).scatter(-1, order, unlikely), float("-inf"))
