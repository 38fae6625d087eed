"""Continuous batching: each slot of the cache holds a thought, and others take a slot as soon as it is free.

The active thoughts always fill the first slots, so that a decode step reads one block of the cache: when a thought is
complete, the last one moves to its slot.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from t1_vectorstore.backends.batching import Layout
from t1_vectorstore.backends.decoder.attention import DecodeAttention, PrefillAttention
from t1_vectorstore.backends.decoder.decoder import Decoder, States
from t1_vectorstore.backends.decoder.kv_cache import KVCache
from t1_vectorstore.backends.decoding import Sampler, ThoughtState, budget_is_spent, step_inputs


class ThoughtBatch:
    """A ``RunningBatch`` of the decoder.

    Attributes:
        thoughts: The active thoughts, by slot.
    """

    def __init__(self, decoder: Decoder, sampler: Sampler, *, pooling_layer: int) -> None:
        """Create an empty batch."""
        self._decoder, self._sampler, self._pooling_layer = decoder, sampler, pooling_layer
        self._device = decoder.device
        self._layout: Layout | None = None
        self._cache: KVCache
        self.thoughts: list[ThoughtState] = []
        self._tokens: list[int] = []  # the next input of each

    def admit(self, thoughts: Sequence[ThoughtState], layout: Layout) -> None:
        """Read thoughts into the slots after the active ones; see ``RunningBatch.admit``."""
        # 1. Let the cache have the layout that the thoughts need.
        if layout != self._layout:
            self._cache = self._arrange(layout)
            self._layout = layout
        # 2. Read the tokens after the prefix.
        readings = [thought.reading(self._sampler.emb_id) for thought in thoughts]
        parts = [reading[len(layout.prefix) :] for reading in readings]
        states = self._prefill(self._cache, parts, len(self.thoughts), pooling_layer=self._pooling_layer)
        # 3. A thought that has ended was fed its emb token; the others get their next token.
        for row, (thought, reading) in enumerate(zip(thoughts, readings, strict=True)):
            thought.position = len(reading)
            if thought.stop is not None:
                thought.add_pass(states.pooled[row], states.final[row])
        self.thoughts += thoughts
        self._tokens += self._sampler(thoughts, states.final)
        self._keep([thought.state is None for thought in self.thoughts])

    def step(self) -> None:
        """Feed each thought its next token or state; see ``RunningBatch.step``."""
        if all(budget_is_spent(thought) for thought in self.thoughts):
            self._close_all()
        else:
            self._step()

    def remove(self, unwanted: Sequence[ThoughtState]) -> None:
        """Free the slots of thoughts that nobody waits for."""
        self._keep([thought not in unwanted for thought in self.thoughts])

    def _arrange(self, layout: Layout) -> KVCache:
        """Return a cache of this layout, with the active thoughts."""
        slots, tokens, shared = layout.slots, layout.tokens, len(layout.prefix)
        if self.thoughts:
            return self._cache.rearranged(slots, tokens, shared, [thought.position for thought in self.thoughts])
        decoder, prefix = self._decoder, None
        config, dtype, device = decoder.config, decoder.dtype, decoder.device
        if shared:
            # Computed up to the last layer, and in a cache of one slot, which all others then refer to.
            prefix = KVCache(config, 1, shared, dtype=dtype, device=device)
            self._prefill(prefix, [layout.prefix], 0, pooling_layer=config.layers)
        return KVCache(config, slots, tokens, dtype=dtype, device=device, prefix=prefix)

    def _prefill(
        self, cache: KVCache, sequences: Sequence[Sequence[int]], first_slot: int, *, pooling_layer: int
    ) -> States:
        """Read sequences, without the cache's prefix, into neighbouring slots; return the states at their ends."""
        ids, positions, ends = concatenate(sequences, self._device, start=cache.prefix_length)
        attention = PrefillAttention([len(sequence) for sequence in sequences], cache, first_slot)
        return self._decoder(ids, positions, attention, pooling_layer=pooling_layer, ends=ends)

    def _step(self) -> None:
        """Feed each thought its next input, and sample the next tokens."""
        # 1. One forward pass for the next input of every thought.
        thoughts = self.thoughts
        at = [thought.position for thought in thoughts]
        ids, positions = torch.tensor([self._tokens, at], device=self._device)
        attention = DecodeAttention(self._cache, positions[:, None], longest=max(at), shortest=min(at))
        inputs = step_inputs(self._decoder.embed(ids), thoughts)
        states = self._decoder(ids, positions, attention, pooling_layer=self._pooling_layer, inputs=inputs)
        # 2. A thought that was fed its emb token, or a state, keeps the states of this pass.
        for slot, thought in enumerate(thoughts):
            thought.position += 1
            if thought.stop is not None:
                thought.add_pass(states.pooled[slot], states.final[slot])
        # 3. Free the slots of complete thoughts, and sample the next token of the others, in their new order.
        order, last = self._keep([thought.state is None for thought in thoughts]), states.final
        if len(order) < len(thoughts):
            last = last[torch.tensor(order, dtype=torch.long, device=self._device)]
        self._tokens = self._sampler(self.thoughts, last) if order else []

    def _close_all(self) -> None:
        """Feed each thought the last token of its budget and the emb token, in one pass over the weights."""
        # 1. Two inputs for each thought, interleaved.
        thoughts, emb_id = self.thoughts, self._sampler.emb_id
        at = [thought.position for thought in thoughts]
        ids = torch.tensor([[token, emb_id] for token in self._tokens], device=self._device)
        positions = torch.tensor([[position, position + 1] for position in at], device=self._device)
        attention = DecodeAttention(self._cache, positions, longest=max(at) + 1, shortest=min(at))
        states = self._decoder(ids.flatten(), positions.flatten(), attention, pooling_layer=self._pooling_layer)
        # 2. The state at the first input says why the thought stopped: the model closes it here, or its budget ends it.
        self._tokens = self._sampler(thoughts, states.final[::2])
        # 3. The state at the second input, the emb token, is the vector.
        for slot, thought in enumerate(thoughts):
            thought.position += 2
            thought.add_pass(states.pooled[2 * slot + 1], states.final[2 * slot + 1])
        self._keep([thought.state is None for thought in thoughts])

    def _keep(self, kept: Sequence[bool]) -> list[int]:
        """Free the slots of the other thoughts, and move the last ones into the gaps; return the former slots."""
        thoughts = self.thoughts
        count = sum(kept)
        movable = [slot for slot in range(count, len(thoughts)) if kept[slot]]  # one for each gap before them
        order = [slot if kept[slot] else movable.pop() for slot in range(count)]
        for target, source in enumerate(order):
            if source != target:
                self._cache.move(source, target, thoughts[source].position)
        self.thoughts = [thoughts[slot] for slot in order]
        self._tokens = [self._tokens[slot] for slot in order]
        return order


def concatenate(
    sequences: Sequence[Sequence[int]], device: torch.device, *, start: int = 0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Put sequences end to end: their token ids, their positions from ``start`` on, and where each one ends."""
    ids = torch.tensor([token for sequence in sequences for token in sequence], device=device)
    positions = [torch.arange(start, start + len(sequence), device=device) for sequence in sequences]
    ends = torch.tensor([len(sequence) for sequence in sequences], device=device).cumsum(0) - 1
    return ids, torch.cat(positions), ends
