"""Which prompts share a forward pass. Plain Python without tensors."""

from __future__ import annotations

from collections.abc import Sequence

_MIN_SAVED_TOKENS = 64
"""How many tokens a shared prefix must save to be computed on its own, which takes a forward pass more."""


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


def shared_prefix_length(prompts: Sequence[Sequence[int]]) -> int:
    """Return how many tokens all prompts start with, or 0 if it is too few to save anything.

    At least the last token of each prompt is not counted, as its states are needed.
    """
    smallest, largest = min(map(list, prompts)), max(map(list, prompts))  # if these two agree, so do all between them
    longest = min(map(len, prompts)) - 1
    shared = next((at for at in range(longest) if smallest[at] != largest[at]), longest)
    return shared if shared * (len(prompts) - 1) >= _MIN_SAVED_TOKENS else 0
