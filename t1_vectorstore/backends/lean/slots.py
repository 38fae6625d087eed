"""Continuous batching: every slot of the cache holds a thought under way, and a finished one makes room at once.

What all prompts begin with, such as an instruction, is computed once and shared by all slots. The rows under way always
fill the first slots: when one leaves, the last takes its place, or a waiting prompt does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import torch

from t1_vectorstore.backends.decoding import Chooser, Row, step_inputs
from t1_vectorstore.backends.lean.attention import Prompts, Steps
from t1_vectorstore.backends.lean.cache import SlotCache
from t1_vectorstore.backends.lean.decoder import Decoder, States

_WORTH_A_PASS = 64
"""How many tokens must be saved by reading the shared start once: doing so is a forward pass of its own."""


class SlotLoop:
    """Thinks about all prompts of one call."""

    def __init__(
        self, decoder: Decoder, cache: SlotCache, chooser: Chooser, *, depth: int, prefill_tokens: int
    ) -> None:
        """Join what takes part.

        Args:
            decoder: makes the steps.
            cache: with room for the longest prompt and thought, the emb token, and what is fed back.
            chooser: of the tokens.
            depth: the layer whose states are the vectors.
            prefill_tokens: of prompts in one forward pass, at most (one prompt may be longer).
        """
        self._decoder, self._cache, self._chooser = decoder, cache, chooser
        self._depth, self._prefill_tokens = depth, prefill_tokens
        self._device = decoder.device
        self._rows: list[Row] = []
        self._tokens: list[int] = []
        self._shared = 0

    def run(self, rows: Sequence[Row]) -> None:
        """Bring every row to its end."""
        waiting = deque(rows)
        self._share([row.prompt for row in rows])
        while waiting or self._rows:
            while waiting and len(self._rows) < self._cache.slots:
                self._admit(waiting)
            self._step()

    def _share(self, prompts: Sequence[Sequence[int]]) -> None:
        """Put what all prompts begin with into every slot; of each prompt, the last token at least is left."""
        shared = shared_start(prompts)
        if shared * (len(prompts) - 1) >= _WORTH_A_PASS:
            self._shared = shared
            self._prefill([prompts[0][:shared]], start=0, slots=[0])
            self._cache.share(shared)

    def _admit(self, waiting: deque[Row]) -> None:
        """Read as many waiting prompts as fit in free slots and one forward pass."""
        first, room = len(self._rows), self._prefill_tokens
        coming: list[Row] = []
        while waiting and first + len(coming) < self._cache.slots:
            room -= len(waiting[0].prompt) - self._shared
            if coming and room < 0:
                break
            coming.append(waiting.popleft())
        slots = range(first, first + len(coming))
        states = self._prefill([row.prompt[self._shared :] for row in coming], start=self._shared, slots=slots)
        for at, row in enumerate(coming):
            row.read = len(row.prompt)
            if row.stop is not None:
                row.take(states.pooled[at], states.final[at])
        self._rows += coming
        self._tokens += self._chooser(coming, states.final)

    def _prefill(self, prompts: Sequence[Sequence[int]], *, start: int, slots: Sequence[int]) -> States:
        """The states at the prompts' last tokens."""
        lengths = [len(prompt) for prompt in prompts]
        ids = torch.tensor([token for prompt in prompts for token in prompt], device=self._device)
        positions = torch.cat([torch.arange(start, start + length, device=self._device) for length in lengths])
        ends = torch.tensor(lengths, device=self._device).cumsum(0) - 1
        attention = Prompts(self._cache, slots, lengths, start=start)
        return self._decoder(ids, positions, attention, depth=self._depth, ends=ends)

    def _step(self) -> None:
        """Feed each row its token or state, let the finished rows go, and choose the next tokens of the others."""
        rows = self._rows
        at = [row.read for row in rows]
        ids, positions = torch.tensor([self._tokens, at], device=self._device)
        slots = torch.arange(len(rows), device=self._device)
        steps = Steps(self._cache, slots, positions, longest=max(at), shortest=min(at), shared=self._shared)
        inputs = step_inputs(self._decoder.embed(ids), rows)
        states = self._decoder(ids, positions, steps, depth=self._depth, inputs=inputs)
        for slot, row in enumerate(rows):
            row.read += 1
            if row.stop is not None:
                row.take(states.pooled[slot], states.final[slot])
        last, going = states.final, self._close_ranks()
        if len(going) < len(rows):
            last = last[torch.tensor(going, dtype=torch.long, device=self._device)]
        self._tokens = self._chooser(self._rows, last) if self._rows else []

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


def shared_start(prompts: Sequence[Sequence[int]]) -> int:
    """How many tokens all prompts begin with, the last of the shortest not counted."""
    least, most = min(map(list, prompts)), max(map(list, prompts))
    room = min(map(len, prompts)) - 1
    return next((at for at in range(room) if least[at] != most[at]), room)
