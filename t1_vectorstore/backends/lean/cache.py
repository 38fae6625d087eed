"""The keys and values of thoughts under way: a fixed place for every token, so that nothing is ever concatenated.

A slot holds one sequence. The first tokens of all slots may be shared: they are computed once and stay where they are,
whichever sequence comes into the slot.
"""

from __future__ import annotations

import torch

from t1_vectorstore.backends.lean.shape import DecoderShape


class SlotCache:
    """``(layers, 2, slots, kv_heads, tokens, head_dim)``: keys, then values.

    So those of neighbouring slots are one batch of matrices, as they lie.
    """

    def __init__(
        self, shape: DecoderShape, *, slots: int, tokens: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        """Take the memory for it.

        Args:
            shape: of the decoder.
            slots: how many sequences at once.
            tokens: the longest sequence.
            dtype: of the decoder's states.
            device: where the decoder is.
        """
        self.slots = slots
        # Zeros, not whatever was there: a masked token's weight is 0, and 0 times infinity is no number.
        self._memory = torch.zeros(
            shape.layers, 2, slots, shape.kv_heads, tokens, shape.head_dim, dtype=dtype, device=device
        )

    def share(self, tokens: int) -> None:
        """Give every slot the first tokens of slot 0."""
        self._memory[:, :, 1:, :, :tokens] = self._memory[:, :, :1, :, :tokens]

    def move(self, source: int, target: int, tokens: int) -> None:
        """Copy the first tokens of one slot to another."""
        self._memory[:, :, target, :, :tokens] = self._memory[:, :, source, :, :tokens]

    def write_run(self, layer: int, slot: int, start: int, keys_values: torch.Tensor) -> None:
        """Put neighbouring tokens ``(n, 2 * kv_heads, head_dim)`` into a slot, from ``start`` on."""
        room = self._memory[layer, :, slot, :, start : start + len(keys_values)]
        room[:] = keys_values.view(len(keys_values), *room.shape[:2], -1).permute(1, 2, 0, 3)

    def write_each(self, layer: int, slots: torch.Tensor, positions: torch.Tensor, keys_values: torch.Tensor) -> None:
        """Put one token ``(2 * kv_heads, head_dim)`` into each of several slots."""
        for memory, new in zip(self._memory[layer], keys_values.chunk(2, dim=1), strict=True):
            memory[slots, :, positions] = new

    def read(self, layer: int, first: int, last: int, tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of the slots from ``first`` up to ``last``, each ``(slots, kv_heads, tokens, head_dim)``."""
        keys, values = self._memory[layer, :, first:last, :, :tokens]
        return keys, values
