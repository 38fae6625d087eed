"""Which prompts share a forward pass: plain decisions, no tensors."""

from __future__ import annotations

from collections.abc import Sequence


def batches_by_tokens(lengths: Sequence[int], max_tokens: int, *, padded: bool) -> list[list[int]]:
    """Group rows of similar length under a token budget.

    Longest first: memory runs out at once if it runs out at all, and the rest only gets faster.

    Args:
        lengths: tokens of each row.
        max_tokens: budget of a batch; a longer row gets a batch of its own.
        padded: count every row as long as the batch's longest, as a rectangular batch costs.

    Returns:
        Row indices, batch by batch; each row once.
    """
    batches: list[list[int]] = []
    room, longest = 0, 0
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        cost = longest if padded else lengths[row]
        if not batches or cost > room:
            longest = lengths[row]
            batches.append([])
            room, cost = max_tokens, longest
        batches[-1].append(row)
        room -= cost
    return batches
