"""The key-value cache of thoughts: each token has a fixed place, so that nothing is ever concatenated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from t1_vectorstore.backends.decoder.config import DecoderConfig
from t1_vectorstore.backends.decoder.matmul_attention import Prefix


class KVCache:
    """Keys and values in one tensor ``(layers, 2, slots, kv_heads, tokens, head_dim)``, so that no step copies them.

    A slot holds one sequence. A prefix that all sequences start with is held once, in a cache of its own.

    Attributes:
        slots: Maximum number of sequences at a time.
        tokens: Maximum length of a sequence after the prefix.
        dtype: Number type of the keys and values.
        prefix_length: Number of tokens in the prefix. Positions count them, but the slots do not hold them.
    """

    def __init__(
        self,
        config: DecoderConfig,
        slots: int,
        tokens: int,
        *,
        dtype: torch.dtype,
        device: torch.device,
        prefix: KVCache | None = None,
    ) -> None:
        """Allocate slots of ``tokens`` tokens each, for what follows the prefix, which fills the slot of ``prefix``."""
        self.slots, self.tokens, self.dtype = slots, tokens, dtype
        self._config = config
        # Zeros, not uninitialised memory: the weight of a masked token is 0, and 0 times infinity is not a number.
        self._memory = torch.zeros(
            config.layers, 2, slots, config.kv_heads, tokens, config.head_dim, dtype=dtype, device=device
        )
        self._prefix = None if prefix is None else prefix._memory[:, :, 0]
        self.prefix_length = 0 if self._prefix is None else self._prefix.shape[3]

    def rearranged(self, slots: int, tokens: int, prefix_length: int, lengths: Sequence[int]) -> KVCache:
        """Return a cache of another shape with the same sequences.

        Args:
            slots: Number of slots.
            tokens: Number of tokens in a slot.
            prefix_length: Number of tokens in the prefix. All sequences start with the same tokens up to there.
            lengths: Lengths of the sequences in the first slots, prefix included.
        """
        options: dict[str, Any] = {"dtype": self.dtype, "device": self._memory.device}
        # 1. The prefix is what is left of the old one, or the old one and the next tokens of any sequence.
        prefix = None
        if prefix_length:
            prefix = KVCache(self._config, 1, prefix_length, **options)
            kept = min(prefix_length, self.prefix_length)
            if self._prefix is not None:
                prefix._memory[:, :, 0, :, :kept] = self._prefix[..., :kept, :]
            prefix._memory[:, :, 0, :, kept:] = self._memory[:, :, 0, :, : prefix_length - kept]
        # 2. Each slot gets the rest of its sequence, and the end of the old prefix if the new one is shorter.
        new = KVCache(self._config, slots, tokens, **options, prefix=prefix)
        active, longest = len(lengths), max(lengths)
        added = max(0, self.prefix_length - prefix_length)
        if self._prefix is not None and added:
            new._memory[:, :, :active, :, :added] = self._prefix[:, :, None, :, prefix_length:]
        first = max(0, prefix_length - self.prefix_length)
        rest = self._memory[:, :, :active, :, first : longest - self.prefix_length]
        new._memory[:, :, :active, :, added : added + rest.shape[4]] = rest
        return new

    def prefix(self, layer: int) -> Prefix | None:
        """Return the keys and values of the prefix."""
        if self._prefix is None:
            return None
        keys, values = self._prefix[layer]
        return keys, values

    def move(self, source: int, target: int, length: int) -> None:
        """Copy a sequence of ``length`` tokens, prefix included, to another slot."""
        tokens = length - self.prefix_length
        self._memory[:, :, target, :, :tokens] = self._memory[:, :, source, :, :tokens]

    def write_sequences(self, layer: int, first_slot: int, keys_values: torch.Tensor) -> None:
        """Write the first tokens of sequences, ``(sequences, n, 2 * kv_heads, head_dim)``, to neighbouring slots."""
        sequences, n = keys_values.shape[:2]
        target = self._memory[layer, :, first_slot : first_slot + sequences, :, :n]
        target[:] = keys_values.view(sequences, n, *(target.shape[at] for at in (0, 2)), -1).permute(2, 0, 3, 1, 4)

    def targets(self, positions: torch.Tensor) -> torch.Tensor:
        """Return where in a layer's memory ``write_inputs`` puts inputs at ``positions (slots, n)``."""
        kinds, slots, heads, tokens = self._memory.shape[1:5]
        starts = torch.arange(kinds * slots * heads, device=positions.device).view(kinds, slots, heads) * tokens
        starts = starts[:, : len(positions)].transpose(0, 1)[:, None]
        return (starts + (positions - self.prefix_length)[..., None, None]).flatten()

    def write_inputs(self, layer: int, targets: torch.Tensor, keys_values: torch.Tensor) -> None:
        """Write the inputs of a decode step, ``(slots * n, 2 * kv_heads, head_dim)``, to the first slots."""
        head_dim = keys_values.shape[-1]
        self._memory[layer].view(-1, head_dim).index_copy_(0, targets, keys_values.reshape(-1, head_dim))

    def read(self, layer: int, slots: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return keys and values of the first slots, up to ``length``: each ``(slots, kv_heads, tokens, head_dim)``."""
        keys, values = self._memory[layer, :, :slots, :, : length - self.prefix_length]
        return keys, values
