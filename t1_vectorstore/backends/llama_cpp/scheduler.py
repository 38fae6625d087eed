"""Continuous batching: each thought has a sequence of the cache, and a waiting prompt gets one as soon as it is free.

A text whose prompt ends with the emb token is a thought that has ended, so documents take the same way: their prompts
are read without outputs, then the emb tokens of all of them in one step.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from t1_vectorstore.backends.base import prompt_seed
from t1_vectorstore.backends.batching import shared_prefix_length
from t1_vectorstore.backends.llama_cpp.library import Context
from t1_vectorstore.backends.llama_cpp.sampling import next_token, uniform_draws
from t1_vectorstore.checkpoints.spec import NO_REFINING, Decoding, Refining
from t1_vectorstore.types import OnTokens, StopReason, Trajectory, Vector

_PREFIX = 0
"""The sequence that holds the tokens that all prompts start with."""


@dataclass(eq=False)
class ThoughtState:
    """One thought while it is generated.

    Attributes:
        index: Index of the thought in the call.
        prompt: The prompt's tokens.
        draws: A uniform random number for each token that may be sampled; empty if decoding is greedy.
        ids: The thought's tokens so far.
        position: Position of the next input.
        next_input: The next token; after the emb token, the state ``(hidden,)`` that is fed back.
        stop: Why the thought ended; set once the emb token is the next input.
        closing: Token with which the model ended the thought, if it did.
        sequence: Number of its sequence in the cache.
        passes: The states ``(hidden,)`` at the emb token and at each state that was fed back after it.
        state: The final state ``(hidden,)``, from which the vector is made; set when the thought is complete.
    """

    index: int
    prompt: Sequence[int]
    draws: Sequence[float] = ()
    ids: list[int] = field(default_factory=list)
    position: int = 0
    next_input: int | Vector = -1
    stop: StopReason | None = None
    closing: int | None = None
    sequence: int = -1
    passes: list[Vector] = field(default_factory=list)
    state: Vector | None = None

    @classmethod
    def start(cls, index: int, prompt: Sequence[int], sample: int, decoding: Decoding) -> ThoughtState:
        """Start a thought, the prompt's ``sample``-th, with its own random numbers: batches do not change it."""
        if decoding.temperature == 0:
            return cls(index, prompt)
        draws = uniform_draws(prompt_seed(decoding, prompt) + sample, decoding.max_tokens + 1)
        return cls(index, prompt, draws.tolist())

    @classmethod
    def ended(cls, index: int, prompt: Sequence[int]) -> ThoughtState:
        """Return the thought of a prompt that ends with the emb token."""
        return cls(index, prompt, stop="emb_token")

    @property
    def trajectory(self) -> Trajectory:
        """The result of a complete thought."""
        assert self.stop is not None
        assert self.state is not None
        return Trajectory(self.ids, self.stop, self.state, self.closing)


class Scheduler:
    """Completes the thoughts of a call in a context that no other call uses meanwhile."""

    def __init__(
        self,
        context: Context,
        *,
        stop_ids: Sequence[int],
        decoding: Decoding | None = None,
        refining: Refining = NO_REFINING,
        deadline: float | None = None,
        on_tokens: OnTokens | None = None,
        shares_prefixes: bool = True,
    ) -> None:
        """Prepare a call.

        Args:
            context: The context; its cache is cleared.
            stop_ids: Tokens that end a thought, the emb token first.
            decoding: Budget and sampling; ``None`` if all thoughts have ended.
            refining: Passes in hidden space that follow the emb token.
            deadline: ``time.monotonic()`` at which unfinished thoughts are closed.
            on_tokens: Called with a thought's index and its new token.
            shares_prefixes: Whether the model's sequences can start with a copy of another one's tokens.
        """
        self._context = context
        self._emb_id, self._stop_ids = stop_ids[0], frozenset(stop_ids)
        self._decoding = decoding or Decoding(max_tokens=0)
        self._refining, self._deadline, self._on_tokens = refining, deadline, on_tokens
        self._shares_prefixes = shares_prefixes
        self._prefix = 0  # length
        self._active: list[ThoughtState] = []
        self._free = list(range(context.sequences - 1, _PREFIX, -1))

    def run(self, thoughts: Sequence[ThoughtState]) -> None:
        """Complete all thoughts.

        Raises:
            BackendError: llama.cpp failed.
        """
        self._context.clear()
        self._read_prefix([thought.prompt for thought in thoughts])
        waiting = deque(thoughts)
        while waiting or self._active:
            # Fill the cache first: a step costs nearly the same for one thought as for many.
            self._admit(waiting)
            self._step()

    def _read_prefix(self, prompts: Sequence[Sequence[int]]) -> None:
        """Read the tokens that all prompts start with, once for all of them."""
        self._prefix = shared_prefix_length(prompts) if self._shares_prefixes else 0
        if self._prefix:
            self._read([(token, at, _PREFIX, None) for at, token in enumerate(prompts[0][: self._prefix])])

    def _admit(self, waiting: deque[ThoughtState]) -> None:
        """Read as many waiting prompts as there is room for, with the longest thoughts that may follow."""
        room = self._context.tokens - self._prefix - sum(map(self._size, self._active))
        rows: list[tuple[int, int, int, ThoughtState | None]] = []
        while waiting and self._free and (room := room - self._size(waiting[0])) >= 0:
            thought = waiting.popleft()
            thought.sequence = self._free.pop()
            if self._prefix:
                self._context.copy(_PREFIX, thought.sequence, self._prefix)
            # A prompt's emb token is left for the next step. Otherwise the last token has the logits of the first one.
            count = len(thought.prompt) - (thought.stop is not None)
            thought.position, thought.next_input = count, thought.prompt[-1]
            rows += [(thought.prompt[at], at, thought.sequence, None) for at in range(self._prefix, count)]
            if thought.stop is None:
                rows[-1] = (*rows[-1][:3], thought)
            self._active.append(thought)
        assert self._active, "the context has room for the longest thought"
        self._read(rows)

    def _size(self, thought: ThoughtState) -> int:
        """Return how many tokens of the cache a thought may need, beside the prefix."""
        return cache_tokens(thought, self._decoding, self._refining) - self._prefix

    def _read(self, rows: Sequence[tuple[int, int, int, ThoughtState | None]]) -> None:
        """Read tokens, given with position, sequence and the thought whose first token is sampled there, if any."""
        context = self._context
        while rows:
            # A batch ends before it has more outputs than there is memory for.
            size = ends = 0
            while size < min(len(rows), context.batch) and ends + (rows[size][3] is not None) <= context.outputs:
                ends += rows[size][3] is not None
                size += 1
            part, rows = rows[:size], rows[size:]
            tokens, positions, sequences, thoughts = zip(*part, strict=True)
            context.decode(tokens, positions, sequences, [thought is not None for thought in thoughts])
            if ended := [thought for thought in thoughts if thought is not None]:
                self._sample(ended, context.logits())

    def _step(self) -> None:
        """Feed each thought its next token or state, and free the sequences of complete ones."""
        # A batch has either tokens or states.
        by_token = [thought for thought in self._active if isinstance(thought.next_input, int)]
        fed_back = [thought for thought in self._active if not isinstance(thought.next_input, int)]
        if by_token:
            self._feed_tokens(by_token)
        if fed_back:
            self._feed_states(fed_back)
        for thought in self._active:
            if thought.state is not None:
                self._context.remove(thought.sequence)
                self._free.append(thought.sequence)
        self._active = [thought for thought in self._active if thought.state is None]

    def _feed_tokens(self, thoughts: Sequence[ThoughtState]) -> None:
        rows: list[tuple[Any, int, int]] = []  # token, position, sequence
        growing: list[tuple[ThoughtState, int]] = []  # with the row whose logits are needed
        closing: list[tuple[ThoughtState, int]] = []  # with the row whose state is needed
        # 1. One token for each thought. One that has spent its budget gets the emb token as well: the logits at its
        #    last token only say whether the model would have ended it there.
        for thought in thoughts:
            spent = thought.stop is None and len(thought.ids) == self._decoding.max_tokens
            if thought.stop is None:
                growing.append((thought, len(rows)))
            else:
                closing.append((thought, len(rows)))
            rows.append((thought.next_input, thought.position, thought.sequence))
            thought.position += 1
            if spent:
                closing.append((thought, len(rows)))
                rows.append((self._emb_id, thought.position, thought.sequence))
                thought.position += 1
        # 2. States are switched on only for the steps that feed an emb token.
        tokens, positions, sequences = zip(*rows, strict=True)
        self._context.decode(tokens, positions, sequences, True, states=bool(closing))
        # 3. Sample, then keep the states: a thought that has spent its budget has both.
        if growing:
            logits = self._context.logits()
            self._sample([thought for thought, _ in growing], [logits[row] for _, row in growing])
        if closing:
            states = self._context.states()
            for thought, row in closing:
                self._add_pass(thought, states[row])

    def _feed_states(self, thoughts: Sequence[ThoughtState]) -> None:
        inputs = np.stack([np.asarray(thought.next_input) for thought in thoughts])
        positions, sequences = [t.position for t in thoughts], [t.sequence for t in thoughts]
        self._context.decode(inputs, positions, sequences, True, states=True)
        for thought, state in zip(thoughts, self._context.states(), strict=True):
            thought.position += 1
            self._add_pass(thought, state)

    def _add_pass(self, thought: ThoughtState, state: Vector) -> None:
        """Add the state at the emb token, or at the last state that was fed back."""
        thought.passes.append(state.copy())
        if len(thought.passes) <= self._refining.steps:
            thought.next_input = thought.passes[-1]
            return
        mean = self._refining.aggregate == "mean" and self._refining.steps
        thought.state = np.stack(thought.passes).mean(0) if mean else thought.passes[-1]
        thought.passes = []

    def _sample(self, thoughts: Iterable[ThoughtState], logits: Iterable[Vector]) -> None:
        """Give each thought its next token by its row of logits; the emb token to those that end."""
        late = self._deadline is not None and time.monotonic() >= self._deadline
        for thought, row in zip(thoughts, logits, strict=True):
            thought.next_input = self._emb_id
            if late:
                thought.stop = "deadline"
                continue
            token = next_token(row, self._decoding, thought.draws[len(thought.ids)] if thought.draws else None)
            if token in self._stop_ids:
                thought.stop, thought.closing = "emb_token" if token == self._emb_id else "end_token", token
            elif len(thought.ids) >= self._decoding.max_tokens:
                thought.stop = "budget"
            else:
                thought.next_input = token
                thought.ids.append(token)
                if self._on_tokens is not None:
                    self._on_tokens(thought.index, [token])


def cache_tokens(thought: ThoughtState, decoding: Decoding, refining: Refining) -> int:
    """Return how many tokens of the cache a thought may need: prompt, thought, emb token, and states fed back."""
    added = refining.steps if thought.stop is not None else decoding.max_tokens + 1 + refining.steps
    return len(thought.prompt) + added
