"""Which prompts share a forward pass. Plain Python without tensors."""

from __future__ import annotations

from collections.abc import Sequence


def batches_by_tokens(lengths: Sequence[int], max_tokens: int, *, padded: bool) -> list[list[int]]:
    """Group sequences of similar length under a token budget, longest first.

    With this order memory runs out in the first batch or not at all.

    Args:
        lengths: Length of each sequence in tokens.
        max_tokens: Maximum number of tokens in a batch; a longer sequence gets a batch of its own.
        padded: Count every sequence as long as the longest in its batch, which is what a rectangular batch costs.

    Returns:
        The indices of the sequences in each batch.
    """
    batches: list[list[int]] = []
    left, longest = 0, 0
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        cost = longest if padded else lengths[index]
        if not batches or cost > left:
            longest = lengths[index]
            batches.append([])
            left, cost = max_tokens, longest
        batches[-1].append(index)
        left -= cost
    return batches
