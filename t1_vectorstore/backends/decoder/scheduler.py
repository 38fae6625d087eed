"""Continuous batching: each slot of the cache holds a thought, and a waiting prompt takes a slot as soon as it is free.

The active thoughts always fill the first slots, so that a decode step reads one block of the cache: when a thought is
complete, the last one moves to its slot.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import torch

from t1_vectorstore.backends.decoder.attention import DecodeAttention, PrefillAttention
from t1_vectorstore.backends.decoder.decoder import Decoder, States
from t1_vectorstore.backends.decoder.kv_cache import KVCache
from t1_vectorstore.backends.decoding import Sampler, ThoughtState, step_inputs


class Scheduler:
    """Completes all thoughts of a call.

    The cache has the shared prefix, if there is one, and slots that are long enough for the rest of any prompt, its
    thought, the emb token, and the states that are fed back.
    """

    def __init__(
        self, decoder: Decoder, cache: KVCache, sampler: Sampler, *, pooling_layer: int, prefill_tokens: int
    ) -> None:
        self._decoder, self._cache, self._sampler = decoder, cache, sampler
        self._pooling_layer, self._prefill_tokens = pooling_layer, prefill_tokens
        self._device = decoder.device
        self._active: list[ThoughtState] = []  # by slot
        self._tokens: list[int] = []  # the next input of each

    def run(self, thoughts: Sequence[ThoughtState]) -> None:
        """Complete all thoughts."""
        waiting = deque(thoughts)
        while waiting or self._active:
            # Fill the free slots first: a decode step costs nearly the same for one thought as for many.
            while waiting and len(self._active) < self._cache.slots:
                self._admit(waiting)
            if all(self._sampler.budget_is_spent(thought) for thought in self._active):
                self._close_all()
            else:
                self._step()

    def _admit(self, waiting: deque[ThoughtState]) -> None:
        """Prefill as many waiting prompts as there are free slots, and as fit in a forward pass."""
        # 1. Take prompts while slots and tokens last, but at least one, however long it is.
        prefix, first_slot, left = self._cache.prefix_length, len(self._active), self._prefill_tokens
        admitted: list[ThoughtState] = []
        while waiting and first_slot + len(admitted) < self._cache.slots:
            left -= len(waiting[0].prompt) - prefix
            if admitted and left < 0:
                break
            admitted.append(waiting.popleft())
        # 2. Read them into the slots after the active ones.
        prompts = [thought.prompt[prefix:] for thought in admitted]
        states = prefill(self._decoder, self._cache, prompts, first_slot, pooling_layer=self._pooling_layer)
        # 3. A prompt that ends with the emb token has its vector now; the others get their first token.
        for row, thought in enumerate(admitted):
            thought.position = len(thought.prompt)
            if thought.stop is not None:  # the prompt ends with the emb token
                thought.add_pass(states.pooled[row], states.final[row])
        self._active += admitted
        self._tokens += self._sampler(admitted, states.final)

    def _step(self) -> None:
        """Feed each thought its next token or state, free the slots of complete ones, and sample the next tokens."""
        # 1. One forward pass for the next input of every thought.
        thoughts = self._active
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
        order, last = self._compact(), states.final
        if len(order) < len(thoughts):
            last = last[torch.tensor(order, dtype=torch.long, device=self._device)]
        self._tokens = self._sampler(self._active, last) if order else []

    def _close_all(self) -> None:
        """Feed each thought the last token of its budget and the emb token, in one pass over the weights."""
        # 1. Two inputs for each thought, interleaved.
        thoughts, emb_id = self._active, self._sampler.emb_id
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
        self._tokens = [self._tokens[slot] for slot in self._compact()]

    def _compact(self) -> list[int]:
        """Free the slots of complete thoughts, and move the last ones into the gaps; return each one's former slot."""
        thoughts = self._active
        kept = [slot for slot, thought in enumerate(thoughts) if thought.state is None]
        movable = [slot for slot in kept if slot >= len(kept)]  # one for each gap before them
        order = [slot if thoughts[slot].state is None else movable.pop() for slot in range(len(kept))]
        for target, source in enumerate(order):
            if source != target:
                self._cache.move(source, target, thoughts[source].position)
        self._active = [thoughts[slot] for slot in order]
        return order


def prefill(
    decoder: Decoder, cache: KVCache, prompts: Sequence[Sequence[int]], first_slot: int, *, pooling_layer: int
) -> States:
    """Read prompts, without the cache's prefix, into neighbouring slots; return the states at their last tokens."""
    lengths = [len(prompt) for prompt in prompts]
    ids, positions, ends = concatenate(prompts, decoder.device, start=cache.prefix_length)
    return decoder(ids, positions, PrefillAttention(lengths, cache, first_slot), pooling_layer=pooling_layer, ends=ends)


def concatenate(
    sequences: Sequence[Sequence[int]], device: torch.device, *, start: int = 0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Put sequences end to end: their token ids, their positions from ``start`` on, and where each one ends."""
    ids = torch.tensor([token for sequence in sequences for token in sequence], device=device)
    positions = [torch.arange(start, start + len(sequence), device=device) for sequence in sequences]
    ends = torch.tensor([len(sequence) for sequence in sequences], device=device).cumsum(0) - 1
    return ids, torch.cat(positions), ends
