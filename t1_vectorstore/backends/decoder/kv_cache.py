"""The keys and values of thoughts under way: a fixed place for every token, so that nothing is ever concatenated.

A slot holds one sequence. What all sequences begin with is held once, in a cache of its own.
"""

from __future__ import annotations

import torch

from t1_vectorstore.backends.decoder.config import DecoderConfig
from t1_vectorstore.backends.decoder.matmul_attention import Shared


class SlotCache:
    """``(layers, 2, slots, kv_heads, tokens, head_dim)``: keys, then values.

    So those of neighbouring slots are one batch of matrices, as they lie.

    Attributes:
        slots: how many sequences at once.
        start: how many tokens all of them begin with; they have no place in the slots.
    """

    def __init__(
        self,
        shape: DecoderConfig,
        *,
        slots: int,
        tokens: int,
        dtype: torch.dtype,
        device: torch.device,
        before: SlotCache | None = None,
    ) -> None:
        """Take the memory for it.

        Args:
            shape: of the decoder.
            slots: how many sequences at once.
            tokens: the longest sequence, its start not counted.
            dtype: of the decoder's states.
            device: where the decoder is.
            before: one slot, filled to its end with what all sequences begin with.
        """
        self.slots = slots
        # Zeros, not whatever was there: a masked token's weight is 0, and 0 times infinity is no number.
        self._memory = torch.zeros(
            shape.layers, 2, slots, shape.kv_heads, tokens, shape.head_dim, dtype=dtype, device=device
        )
        self._before = None if before is None else before._memory[:, :, 0]
        self.start = 0 if self._before is None else self._before.shape[3]

    def shared(self, layer: int) -> Shared | None:
        """What all sequences begin with."""
        if self._before is None:
            return None
        keys, values = self._before[layer]
        return keys, values

    def move(self, source: int, target: int, tokens: int) -> None:
        """Copy the first tokens of one slot, those of the start among them, to another."""
        self._memory[:, :, target, :, : tokens - self.start] = self._memory[:, :, source, :, : tokens - self.start]

    def write_runs(self, layer: int, first: int, keys_values: torch.Tensor) -> None:
        """Put what follows the start, ``(sequences, n, 2 * kv_heads, head_dim)``, into slots from ``first`` on."""
        sequences, n = keys_values.shape[:2]
        room = self._memory[layer, :, first : first + sequences, :, :n]
        room[:] = keys_values.view(sequences, n, *(room.shape[at] for at in (0, 2)), -1).permute(2, 0, 3, 1, 4)

    def places(self, positions: torch.Tensor) -> torch.Tensor:
        """Where :meth:`write_each` puts the tokens at ``positions (slots, n)`` of the first slots, in any layer."""
        kinds, slots, heads, tokens = self._memory.shape[1:5]
        each = torch.arange(kinds * slots * heads, device=positions.device).view(kinds, slots, heads) * tokens
        return (
            each[:, : len(positions)].transpose(0, 1)[:, None] + (positions - self.start)[..., None, None]
        ).flatten()

    def write_each(self, layer: int, places: torch.Tensor, keys_values: torch.Tensor) -> None:
        """Put tokens ``(slots * n, 2 * kv_heads, head_dim)`` into the first slots."""
        size = keys_values.shape[-1]
        self._memory[layer].view(-1, size).index_copy_(0, places, keys_values.reshape(-1, size))

    def read(self, layer: int, first: int, last: int, tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of the slots from ``first`` up to ``last``, each ``(slots, kv_heads, n, head_dim)``.

        Those of the first ``tokens`` of a sequence, without its start.
        """
        keys, values = self._memory[layer, :, first:last, :, : tokens - self.start]
        return keys, values
