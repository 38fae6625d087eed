"""What backends over an inference server's engine have in common: two requests to a thought, and many at once.

A thought is generated up to its closing token. Then prompt, thought and emb token are one more request, whose prefix
the engine still has in its cache, so that it computes little more than the last token. A thought that was cut is closed
in the same way. Documents are such a request and nothing else.
"""

from __future__ import annotations

import asyncio
import itertools
import time
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

import numpy as np

from t1_vectorstore.backends.base import prompt_seed, refuse_refining
from t1_vectorstore.backends.vllm.event_loop import EventLoop, each
from t1_vectorstore.checkpoints.spec import NO_REFINING, Decoding, Refining
from t1_vectorstore.errors import BackendError
from t1_vectorstore.types import OnTokens, StopReason, Trajectory, Vectors


class Engine(Protocol):
    """An engine that batches whatever it is asked for at the same time. All of it runs on one event loop."""

    group: int
    """How many prompts one call of ``embed`` should have."""
    in_flight: int
    """How many calls to have under way; more wait here rather than in the engine."""

    async def embed(self, prompts: Sequence[Sequence[int]], *, thought: int | None = None) -> Vectors:
        """The hidden state at each prompt's last token, float32 ``(n, hidden)``, in order.

        Args:
            prompts: token ids, each ending with the emb token.
            thought: the number of the thought that the prompt ends with, ``None`` for documents; those are overtaken.
        """
        ...

    def generate(
        self,
        prompt: Sequence[int],
        decoding: Decoding,
        *,
        seed: int | None,
        streamed: bool,
        thought: int,
        samples: int,
    ) -> AsyncIterator[tuple[int, Sequence[int]]]:
        """New tokens as they come, the stop token among them, after which of the thoughts they belong to, from 0.

        A task that is cancelled aborts its request.

        Args:
            prompt: token ids.
            decoding: budget, the stop token counted, and sampling.
            seed: of the first thought's random numbers, the next one's is one higher; ``None`` where the decoding is
                greedy.
            streamed: whether tokens are wanted before the last one is there.
            thought: a number that the request for its vector will have too, since one replica should get both.
            samples: how many thoughts are wanted.
        """
        ...

    async def close(self) -> None:
        """Let go of what the engine holds."""
        ...


class ServedBackend:
    """A backend over an engine; calls from several threads are answered together."""

    refines = False

    def __init__(
        self, engine: Engine, loop: EventLoop, *, stop_ids: Sequence[int], max_positions: int | None = None
    ) -> None:
        """Join an engine and the loop on which it runs.

        Args:
            engine: started.
            loop: where its coroutines run.
            stop_ids: the tokens that end a thought, the emb token first.
            max_positions: the longest prompt that the engine takes, thought and emb token included.
        """
        self._engine = engine
        self._loop = loop
        self._emb_id = stop_ids[0]
        self._stop_ids = tuple(stop_ids)
        self.max_positions = max_positions
        self._close = weakref.finalize(self, _close, engine, loop)
        self._numbers = itertools.count()

    def encode(self, prompts: Sequence[Sequence[int]], *, on_done: Callable[[int], None] | None = None) -> Vectors:
        """The hidden state at each prompt's last token, float32 ``(n, hidden)``, in order.

        Args:
            prompts: token ids, each ending with the emb token.
            on_done: told how many prompts were finished since the last time, from a thread of this backend's own.
        """
        size = self._engine.group
        groups = [prompts[at : at + size] for at in range(0, len(prompts), size)]

        async def embed(group: Sequence[Sequence[int]]) -> Vectors:
            states = await self._engine.embed(group)
            if on_done is not None:
                on_done(len(group))
            return states

        return np.concatenate(self._loop.run(each(embed, groups, self._engine.in_flight)))

    def think(
        self,
        prompts: Sequence[Sequence[int]],
        decoding: Decoding,
        *,
        deadline: float | None = None,
        refining: Refining = NO_REFINING,
        samples: int = 1,
        on_tokens: OnTokens | None = None,
    ) -> list[Trajectory]:
        """Generate thoughts for each prompt, and the hidden state at the emb token that closes each, in order.

        Args:
            prompts: token ids up to where the thought begins.
            decoding: budget and sampling.
            deadline: ``time.monotonic()`` after which thoughts are aborted and closed as they stand.
            refining: none, since an engine takes nothing but tokens.
            samples: how many thoughts for each prompt, one after the other; they are one request.
            on_tokens: told which of the thoughts has grown, and by what, from a thread of this backend's own.

        Raises:
            ValueError: there is something to refine.
        """
        refuse_refining(refining)

        async def think(job: tuple[int, Sequence[int]]) -> list[Trajectory]:
            index, prompt = job
            number = next(self._numbers)
            growing = [_Growing(index * samples + nth, decoding, self._stop_ids, on_tokens) for nth in range(samples)]
            late = await self._grow(growing, prompt, decoding, deadline, number, streamed=on_tokens is not None)
            ends = [thought.end(late) for thought in growing]
            closed = [[*prompt, *thought.ids, self._emb_id] for thought in growing]
            states = await self._engine.embed(closed, thought=number)
            return [Trajectory(t.ids, stop, state) for t, stop, state in zip(growing, ends, states, strict=True)]

        jobs = list(enumerate(prompts))
        return list(itertools.chain(*self._loop.run(each(think, jobs, self._engine.in_flight))))

    def refine(self, prompts: Sequence[Sequence[int]], refining: Refining) -> Vectors:
        """Refuse, unless there is nothing to refine.

        Raises:
            ValueError: there is.
        """
        refuse_refining(refining)
        return self.encode(prompts)

    def close(self) -> None:
        """Stop the engine; the backend cannot be used any more."""
        self._close()

    async def _grow(
        self,
        growing: Sequence[_Growing],
        prompt: Sequence[int],
        decoding: Decoding,
        deadline: float | None,
        number: int,
        *,
        streamed: bool,
    ) -> bool:
        """Generate all thoughts of a prompt; whether the deadline came first."""
        seed = None if decoding.temperature == 0 else prompt_seed(decoding, prompt)
        closable = decoding.model_copy(update={"max_tokens": decoding.max_tokens + 1})
        streamed = streamed or deadline is not None

        async def generate() -> None:
            async for nth, new in self._engine.generate(
                prompt, closable, seed=seed, streamed=streamed, thought=number, samples=len(growing)
            ):
                growing[nth].add(new)

        try:
            await asyncio.wait_for(generate(), None if deadline is None else deadline - time.monotonic())
        except asyncio.TimeoutError:
            return True
        return False


class _Growing:
    """A thought while its tokens come in."""

    def __init__(self, index: int, decoding: Decoding, stop_ids: Sequence[int], on_tokens: OnTokens | None) -> None:
        self.ids: list[int] = []
        """Without the token that closes it."""
        self._index, self._on_tokens = index, on_tokens
        self._budget, self._stop_ids = decoding.max_tokens, stop_ids
        self._stop: StopReason | None = None

    def add(self, new: Sequence[int]) -> None:
        """The tokens that follow; of those behind the budget only a closing one says anything."""
        before = len(self.ids)
        for token in new:
            if token in self._stop_ids:
                self._stop = "emb_token" if token == self._stop_ids[0] else "end_token"
            elif len(self.ids) < self._budget:
                self.ids.append(token)
            else:
                self._stop = "budget"
        if self._on_tokens is not None and len(self.ids) > before:
            self._on_tokens(self._index, self.ids[before:])

    def end(self, late: bool) -> StopReason:
        """Why it ended, now that no more tokens come.

        Raises:
            BackendError: for no reason.
        """
        if self._stop is not None:
            return self._stop
        if late:
            return "deadline"
        raise BackendError(
            f"the engine broke a thought off: {len(self.ids)} tokens, none of which closes it, of a budget of "
            f"{self._budget}; does the server return token ids?"
        )


def _close(engine: Engine, loop: EventLoop) -> None:
    if loop.running:  # in a process forked from the one that holds the engine, there is nothing to end
        loop.run(engine.close())
        loop.close()
