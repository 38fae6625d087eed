"""Continuous batching: every slot of the cache holds a thought under way, and a finished one makes room at once.

What all prompts begin with, such as an instruction, is computed and held once for all. The rows under way always fill
the first slots: when one leaves, the last takes its place, or a waiting prompt does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import torch

from t1_vectorstore.backends.decoder.attention import Prompts, Steps
from t1_vectorstore.backends.decoder.decoder import Decoder, States
from t1_vectorstore.backends.decoder.kv_cache import SlotCache
from t1_vectorstore.backends.decoding import Sampler, ThoughtState, step_inputs

_WORTH_A_PASS = 64
"""How many tokens must be saved by reading the shared start once: doing so is a forward pass of its own."""


class Scheduler:
    """Thinks about all prompts of one call."""

    def __init__(
        self, decoder: Decoder, cache: SlotCache, sampler: Sampler, *, depth: int, prefill_tokens: int
    ) -> None:
        """Join what takes part.

        Args:
            decoder: makes the steps.
            cache: with what all prompts begin with, if it was read before, and room for the longest rest of a prompt,
                thought, the emb token, and what is fed back.
            sampler: of the tokens.
            depth: the layer whose states are the vectors.
            prefill_tokens: of prompts in one forward pass, at most (one prompt may be longer).
        """
        self._decoder, self._cache, self._sampler = decoder, cache, sampler
        self._depth, self._prefill_tokens = depth, prefill_tokens
        self._device = decoder.device
        self._rows: list[ThoughtState] = []
        self._tokens: list[int] = []

    def run(self, rows: Sequence[ThoughtState]) -> None:
        """Bring every row to its end."""
        waiting = deque(rows)
        while waiting or self._rows:
            while waiting and len(self._rows) < self._cache.slots:
                self._admit(waiting)
            if all(self._sampler.is_last(row) for row in self._rows):
                self._last_step()
            else:
                self._step()

    def _admit(self, waiting: deque[ThoughtState]) -> None:
        """Read as many waiting prompts as fit in free slots and one forward pass."""
        first, room = len(self._rows), self._prefill_tokens
        coming: list[ThoughtState] = []
        while waiting and first + len(coming) < self._cache.slots:
            room -= len(waiting[0].prompt) - self._cache.start
            if coming and room < 0:
                break
            coming.append(waiting.popleft())
        states = read_prompts(
            self._decoder, self._cache, [row.prompt[self._cache.start :] for row in coming], first, depth=self._depth
        )
        for at, row in enumerate(coming):
            row.read = len(row.prompt)
            if row.stop is not None:
                row.take(states.pooled[at], states.final[at])
        self._rows += coming
        self._tokens += self._sampler(coming, states.final)

    def _step(self) -> None:
        """Feed each row its token or state, let the finished rows go, and choose the next tokens of the others."""
        rows = self._rows
        at = [row.read for row in rows]
        ids, positions = torch.tensor([self._tokens, at], device=self._device)
        steps = Steps(self._cache, positions[:, None], longest=max(at), shortest=min(at))
        inputs = step_inputs(self._decoder.embed(ids), rows)
        states = self._decoder(ids, positions, steps, depth=self._depth, inputs=inputs)
        for slot, row in enumerate(rows):
            row.read += 1
            if row.stop is not None:
                row.take(states.pooled[slot], states.final[slot])
        last, going = states.final, self._close_ranks()
        if len(going) < len(rows):
            last = last[torch.tensor(going, dtype=torch.long, device=self._device)]
        self._tokens = self._sampler(self._rows, last) if self._rows else []

    def _last_step(self) -> None:
        """Feed each row the last token of its budget and the emb token at once: one reading of the weights for both."""
        rows, emb_id = self._rows, self._sampler.emb_id
        ids = torch.tensor([[token, emb_id] for token in self._tokens], device=self._device)
        positions = torch.tensor([[row.read, row.read + 1] for row in rows], device=self._device)
        at = [row.read for row in rows]
        steps = Steps(self._cache, positions, longest=max(at) + 1, shortest=min(at))
        states = self._decoder(ids.flatten(), positions.flatten(), steps, depth=self._depth)
        self._tokens = self._sampler(rows, states.final[::2])  # tells whether the thought was at its end
        for slot, row in enumerate(rows):
            row.read += 2
            row.take(states.pooled[2 * slot + 1], states.final[2 * slot + 1])
        going = self._close_ranks()
        self._tokens = [self._tokens[slot] for slot in going]

    def _close_ranks(self) -> list[int]:
        """Let finished rows go and move the last ones to their slots; tells in which slot each row was."""
        rows = self._rows
        going = [slot for slot, row in enumerate(rows) if row.state is None]
        later = [slot for slot in going if slot >= len(going)]
        order = [slot if rows[slot].state is None else later.pop() for slot in range(len(going))]
        for target, source in enumerate(order):
            if source != target:
                self._cache.move(source, target, rows[source].read)
        self._rows = [rows[slot] for slot in order]
        return order


def read_prompts(
    decoder: Decoder, cache: SlotCache, prompts: Sequence[Sequence[int]], first: int, *, depth: int
) -> States:
    """Put prompts, less the cache's start, into slots from ``first`` on: the states at their last tokens."""
    lengths = [len(prompt) for prompt in prompts]
    ids = torch.tensor([token for prompt in prompts for token in prompt], device=decoder.device)
    runs = [torch.arange(cache.start, cache.start + length, device=decoder.device) for length in lengths]
    ends = torch.tensor(lengths, device=decoder.device).cumsum(0) - 1
    return decoder(ids, torch.cat(runs), Prompts(cache, first, lengths), depth=depth, ends=ends)


def shared_prefix_length(prompts: Sequence[Sequence[int]]) -> int:
    """How many tokens all prompts begin with, if reading them once pays; of each the last token at least is left."""
    least, most = min(map(list, prompts)), max(map(list, prompts))
    room = min(map(len, prompts)) - 1
    shared = next((at for at in range(room) if least[at] != most[at]), room)
    return shared if shared * (len(prompts) - 1) >= _WORTH_A_PASS else 0
