"""A backend over an inference engine, which may run in this process or on servers.

Each thought takes two requests. The first one generates it up to its closing token. The second one embeds prompt,
thought and emb token; the engine still has all but their end in its prefix cache. A thought that was cut is embedded in
the same way, and a document takes only a request of the second kind.
"""

from __future__ import annotations

import asyncio
import itertools
import time
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from t1_vectorstore.backends.base import prompt_seed
from t1_vectorstore.backends.vllm.event_loop import EventLoopThread, map_concurrently
from t1_vectorstore.backends.vllm.limits import refuse_refining
from t1_vectorstore.checkpoints.spec import NO_REFINING, Decoding, Refining
from t1_vectorstore.errors import BackendError
from t1_vectorstore.types import OnTokens, StopReason, Trajectory, Vectors


@dataclass(frozen=True)
class ThoughtRequest:
    """A request for the thoughts of one prompt.

    Attributes:
        prompt: Token ids.
        decoding: Budget and sampling.
        number: Number of the request. The request for the vectors has the same one, so both go to the same replica.
        samples: Number of thoughts.
        streamed: Whether to yield tokens before the last one is generated.
    """

    prompt: Sequence[int]
    decoding: Decoding
    number: int
    samples: int
    streamed: bool

    @property
    def seed(self) -> int | None:
        """Seed of the first thought; each further one adds one. ``None`` if decoding is greedy."""
        return None if self.decoding.temperature == 0 else prompt_seed(self.decoding, self.prompt)


class GenerationEngine(Protocol):
    """An engine that batches concurrent requests. Its methods run on one event loop."""

    batch_size: int
    """Maximum number of prompts in a call of ``embed``."""
    in_flight: int
    """Maximum number of concurrent calls."""

    async def embed(self, prompts: Sequence[Sequence[int]], *, thought: int | None = None) -> Vectors:
        """Return the hidden state at each prompt's last token, float32 ``(n, hidden)``, in order.

        Args:
            prompts: Token ids, each ending with the emb token.
            thought: Number of the request that generated the prompts' thoughts; ``None`` for documents, which have a
                lower priority.
        """
        ...

    def generate(self, request: ThoughtRequest) -> AsyncIterator[tuple[int, Sequence[int]]]:
        """Generate thoughts; yield the number of a sample, from 0, and its new tokens, stop tokens included.

        One token more than the budget is generated, as it may be a stop token. Cancelling the task aborts the request.
        """
        ...

    async def close(self) -> None:
        """Stop the engine, or close its connections."""
        ...


class EngineBackend:
    """A backend over an engine, which answers calls from several threads together."""

    refines = False

    def __init__(
        self,
        engine: GenerationEngine,
        loop: EventLoopThread,
        *,
        stop_ids: Sequence[int],
        max_positions: int | None = None,
    ) -> None:
        """Create the backend of an engine that was started on an event loop; the emb token is the first stop token."""
        self._engine, self._loop = engine, loop
        self._stop_ids = tuple(stop_ids)
        self.max_positions = max_positions
        self._close = weakref.finalize(self, _close, engine, loop)
        self._numbers = itertools.count()

    def encode(self, prompts: Sequence[Sequence[int]], *, on_done: Callable[[int], None] | None = None) -> Vectors:
        """See ``Backend.encode``; ``on_done`` is called from another thread."""
        size = self._engine.batch_size
        batches = [prompts[at : at + size] for at in range(0, len(prompts), size)]

        async def embed(batch: Sequence[Sequence[int]]) -> Vectors:
            states = await self._engine.embed(batch)
            if on_done is not None:
                on_done(len(batch))
            return states

        return np.concatenate(self._loop.run(map_concurrently(embed, batches, self._engine.in_flight)))

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
        """See ``Backend.think``; ``on_tokens`` is called from another thread."""
        refuse_refining(refining)

        async def think(job: tuple[int, Sequence[int]]) -> list[Trajectory]:
            index, prompt = job
            # 1. Generate. By a deadline, tokens will only have arrived if they are streamed.
            streamed = on_tokens is not None or deadline is not None
            request = ThoughtRequest(prompt, decoding, next(self._numbers), samples, streamed)
            indices = range(index * samples, (index + 1) * samples)
            thoughts = [_GrowingThought(at, decoding, self._stop_ids, on_tokens) for at in indices]
            late = await self._generate(thoughts, request, deadline)
            stops = [thought.stop_reason(late) for thought in thoughts]
            # 2. Embed each thought with its prompt.
            closed = [[*prompt, *thought.ids, self._stop_ids[0]] for thought in thoughts]
            states = await self._engine.embed(closed, thought=request.number)
            return [Trajectory(t.ids, stop, state) for t, stop, state in zip(thoughts, stops, states, strict=True)]

        jobs = list(enumerate(prompts))
        return list(itertools.chain(*self._loop.run(map_concurrently(think, jobs, self._engine.in_flight))))

    def refine(self, prompts: Sequence[Sequence[int]], refining: Refining) -> Vectors:
        """Encode the prompts. An engine accepts only tokens, so refine steps are an error."""
        refuse_refining(refining)
        return self.encode(prompts)

    def close(self) -> None:
        """Stop the engine. The backend cannot be used afterwards."""
        self._close()

    async def _generate(
        self, thoughts: Sequence[_GrowingThought], request: ThoughtRequest, deadline: float | None
    ) -> bool:
        """Generate all thoughts of a prompt; return whether the deadline ended them."""

        async def generate() -> None:
            async for sample, new in self._engine.generate(request):
                thoughts[sample].add(new)

        try:
            await asyncio.wait_for(generate(), None if deadline is None else deadline - time.monotonic())
        except asyncio.TimeoutError:
            return True
        return False


class _GrowingThought:
    """A thought whose tokens are arriving."""

    def __init__(self, index: int, decoding: Decoding, stop_ids: Sequence[int], on_tokens: OnTokens | None) -> None:
        self.ids: list[int] = []  # without the token that closes it
        self._index, self._on_tokens = index, on_tokens
        self._budget, self._stop_ids = decoding.max_tokens, stop_ids
        self._stop: StopReason | None = None

    def add(self, new: Sequence[int]) -> None:
        """Add new tokens. The one after the budget only shows whether the model closes the thought there."""
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

    def stop_reason(self, late: bool) -> StopReason:
        """Return why the thought ended, once all tokens have arrived."""
        if self._stop is not None:
            return self._stop
        if late:
            return "deadline"
        raise BackendError(
            f"the engine stopped in the middle of a thought: {len(self.ids)} tokens of a budget of {self._budget}, and "
            "none of them closes it; does the server return token ids?"
        )


def _close(engine: GenerationEngine, loop: EventLoopThread) -> None:
    if loop.running:  # else this process was forked from the one that has the engine
        loop.run(engine.close())
        loop.close()
