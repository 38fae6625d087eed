"""Runs a model for all calls that are under way: forward passes are shared, and no kind of work starves another one.

Each turn is one forward pass, chosen anew: short texts, such as queries without a thought, documents, waiting thoughts
that join the running batch, or a decode step of that batch. Which one comes next, and what it consists of, is decided
in ``batching.py``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from typing import Literal

import numpy as np
import torch

from t1_vectorstore.backends.batching import CacheNeed, FairShares, Layout, choose_layout, fair_order, first_batch
from t1_vectorstore.backends.calls import EncodeCall, ModelCall, ThinkCall
from t1_vectorstore.backends.decoding import Sampler, ThoughtState
from t1_vectorstore.backends.local_model import LocalModel, RunningBatch
from t1_vectorstore.backends.oom import TokenBudget, is_out_of_memory
from t1_vectorstore.backends.turns import Turns
from t1_vectorstore.errors import BackendError
from t1_vectorstore.forks import renew_after_fork

Kind = Literal["short texts", "thoughts", "documents"]

_WEIGHTS: dict[Kind, float] = {"short texts": 2.0, "thoughts": 2.0, "documents": 1.0}
"""Shares of the time, of the kinds that have work. So documents slow thoughts down by half at most."""

_SMALL_PART = 4
"""A batch of documents is smaller by this factor while other threads ask queries, which wait for the running batch."""

_QUIET_SECONDS = 10.0
"""How long after a query the batches stay small."""

_LOOK_AHEAD = 512
"""How many waiting thoughts are looked at when the shape of the cache is chosen."""


class ModelLoop:
    """Completes calls of several threads, with the threads themselves.

    Attributes:
        model: The model.
        sampler: Chooses tokens.
        batch_budget: Maximum number of tokens in a forward pass.
        cache_budget: Maximum number of tokens in the key-value cache.
    """

    def __init__(
        self,
        model: LocalModel,
        sampler: Sampler,
        *,
        device: torch.device,
        batch_tokens: int,
        cache_tokens: int,
        threads: int | None,
    ) -> None:
        """Create the loop of a model.

        Args:
            model: The model.
            sampler: Chooses tokens.
            device: The model's device.
            batch_tokens: Maximum number of tokens in a forward pass.
            cache_tokens: Maximum number of tokens in the key-value cache.
            threads: Number of CPU threads. Default: torch's own number.
        """
        self.model, self.sampler = model, sampler
        self.batch_budget, self.cache_budget = TokenBudget(batch_tokens, device), TokenBudget(cache_tokens, device)
        self._device, self._threads, self._process = device, threads, os.getpid()
        self._turns: Turns[ModelCall] = Turns()
        self._shares: FairShares[Kind] = FairShares(_WEIGHTS)
        self._last_query = float("-inf"), 0  # when it was, and the thread that asked it
        self._batch: RunningBatch | None = None
        self._layout: Layout | None = None
        self._owners: dict[ThoughtState, ThinkCall] = {}  # of the thoughts in the batch
        self._step_is_due = False
        self._blocked: tuple[ThoughtState, int] | None = None
        renew_after_fork(self)

    def complete(self, call: ModelCall) -> None:
        """Wait until a call is complete, and run the model while no other thread does.

        Raises:
            BackendError: A single text does not fit into memory.
            Exception: The model has failed on this call, or its callback.
        """
        self._turns.complete(call, self._lead, self._rest)

    def is_short(self, prompts: Sequence[Sequence[int]]) -> bool:
        """Whether texts are encoded before documents: at most one small batch."""
        return len(prompts) == 1 or sum(map(len, prompts)) <= self.batch_budget.tokens // _SMALL_PART

    def after_fork(self) -> None:
        """Forget the calls of other threads, and the batch, in which one of them may have been working."""
        self._turns.after_fork()
        self._drop_batch()

    def _lead(self, call: ModelCall) -> None:
        """Run the model until a call of this thread is finished or has news."""
        with self._running():
            try:
                while not (call.finished or call.has_news):
                    self._take_turn()
            except BaseException:  # such as KeyboardInterrupt, in the middle of a forward pass
                self._drop_batch()
                raise

    def _rest(self) -> None:
        """Free the memory of the batch, since nobody waits for the model."""
        self._batch = self._layout = None
        self._owners = {}

    def _take_turn(self) -> None:
        """Run the forward pass that is due."""
        calls = [call for call in list(self._turns.calls) if not call.finished]
        texts = [call for call in calls if isinstance(call, EncodeCall)]
        thinking = [call for call in calls if isinstance(call, ThinkCall)]
        self._remove_unwanted()
        waiting: dict[Kind, Sequence[ModelCall]] = {
            "short texts": [call for call in texts if call.short],
            "thoughts": thinking,
            "documents": [call for call in texts if not call.short],
        }
        kind = self._shares.choose([kind for kind, its_calls in waiting.items() if its_calls])
        started = time.monotonic()
        if kind == "thoughts":
            self._think(thinking)
        else:
            self._encode([call for call in texts if call.short == (kind == "short texts")], kind)
        ended = time.monotonic()
        self._shares.charge(kind, ended - started)
        if kind != "documents":
            self._last_query = ended, waiting[kind][-1].thread

    def _encode(self, calls: Sequence[EncodeCall], kind: Kind) -> None:
        """Encode a batch of texts."""
        # 1. A full batch, unless queries of other threads are around. The next call fills what one leaves.
        max_tokens = self.batch_budget.tokens
        asked, thread = self._last_query
        recent = time.monotonic() - asked < _QUIET_SECONDS
        if kind == "documents" and recent and any(call.thread != thread for call in calls):
            max_tokens //= _SMALL_PART
        calls = calls[:1] if any(call.alone for call in calls) else calls
        upcoming = list(islice(chain(*(call.upcoming() for call in calls)), max(1, max_tokens)))
        lengths = [len(call.prompts[index]) for call, index in upcoming]
        upcoming = upcoming[: first_batch(lengths, max_tokens, padded=self.model.padded)]
        upcoming.sort(key=lambda item: -len(item[0].prompts[item[1]]))
        prompts = [call.prompts[index] for call, index in upcoming]
        # 2. The forward pass.
        members = list(dict.fromkeys(call for call, _ in upcoming))
        too_large = False
        try:
            states = np.asarray(self.model.encode(prompts).float().cpu())
        except Exception as error:  # noqa: BLE001 - it is raised in the thread of the call that has caused it
            too_large = is_out_of_memory(error)
            if not too_large:
                self._blame(members, error)
            elif len(prompts) == 1:
                too_large = False
                self._fail(members[0], self.batch_budget.too_long(len(prompts[0]), error))
        else:
            for (call, index), state in zip(upcoming, states, strict=True):
                call.add(index, state)
            self._wake(members)
        if too_large:  # after the handler, so that the error and its traceback, which hold tensors, are freed
            lengths = [len(prompt) for prompt in prompts]
            self.batch_budget.halve(max(lengths) * len(lengths) if self.model.padded else sum(lengths))
        # 3. Documents of several calls take turns.
        if kind == "documents":
            self._turns.move_to_end(members)

    def _think(self, calls: Sequence[ThinkCall]) -> None:
        """Let waiting thoughts join the batch, or run a decode step."""
        if self._batch is None:
            self._batch, self._owners = self.model.start_batch(self.sampler), {}
        batch = self._batch
        admitted, layout = self._admissible(batch, calls)
        # All free slots are filled first: a decode step costs nearly the same for one thought as for many. But thoughts
        # of other calls make a step after each pass over prompts.
        active = set(self._owners.values())
        if self._step_is_due and batch.thoughts:
            admitted = []
        owners = [call for call, _ in admitted]
        self._step_is_due = bool(admitted) and len(active.union(owners)) > 1
        members = list(dict.fromkeys(owners)) if admitted else list(active)
        too_large: int | None = None
        try:
            if admitted:
                for call, thought in admitted:
                    call.admit(thought)
                    self._owners[thought] = call
                assert layout is not None
                self._layout = layout
                batch.admit([thought for _, thought in admitted], layout)
            else:
                batch.step()
        except Exception as error:  # noqa: BLE001 - it is raised in the thread of the call that has caused it
            assert self._layout is not None
            slots, tokens = self._layout.slots, self._layout.tokens
            if not is_out_of_memory(error):
                self._blame(members, error)
            elif slots == 1:
                self._fail(members[0], self.cache_budget.too_long(len(self._layout.prefix) + tokens, error))
            else:
                too_large = len(self._layout.prefix) + slots * tokens
        else:
            self._collect()
            return
        self._drop_batch()
        if too_large is not None:
            self.cache_budget.halve(too_large)

    def _admissible(
        self, batch: RunningBatch, calls: Sequence[ThinkCall]
    ) -> tuple[list[tuple[ThinkCall, ThoughtState]], Layout | None]:
        """Return the thoughts that join the batch next, and the cache's layout for them."""
        if batch.thoughts and not self.model.joins:
            return [], None
        # 1. The order in which thoughts are admitted: the next one is of the call with the fewest active ones.
        if any(call.alone for call in calls):
            calls = list(dict.fromkeys(self._owners.values())) or calls[:1]
        ordered = fair_order([call.upcoming() for call in calls], [call.active for call in calls])
        waiting = list(islice(ordered, 1))
        if not waiting:
            return [], None
        # 2. Keep the layout if it has a free slot for the first one; else choose another one.
        layout, active = self._layout, len(batch.thoughts)
        if layout is not None and active < layout.slots and layout.holds(self._need(waiting[0][1])):
            waiting += islice(ordered, layout.slots - active - 1)
        elif self._blocked == (waiting[0][1], active):
            return [], None
        else:
            waiting += islice(ordered, _LOOK_AHEAD - 1)
            layout = choose_layout(
                [self._need(thought) for thought in batch.thoughts],
                [self._need(thought) for _, thought in waiting],
                self.cache_budget.tokens,
                shared_prefix=self.model.joins,
            )
            if layout is None:
                self._blocked = waiting[0][1], active
                return [], None
        # 3. As many as have a slot, and as a forward pass may read.
        max_tokens = self.batch_budget.tokens
        if len({*self._owners.values(), *(call for call, _ in waiting)}) > 1:
            max_tokens //= _SMALL_PART
        fitting: list[int] = []
        for _, thought in waiting[: layout.slots - active]:
            need = self._need(thought)
            if not layout.holds(need):
                break
            fitting.append(len(need.tokens) - len(layout.prefix))
        count = first_batch(fitting, max_tokens, padded=False) if self.model.joins else len(fitting)
        return waiting[:count], layout

    def _need(self, thought: ThoughtState) -> CacheNeed:
        return CacheNeed(thought.reading(self.sampler.emb_id), thought.length)

    def _collect(self) -> None:
        """Tell the calls in the batch about new tokens and complete thoughts."""
        news: set[ThinkCall] = set()
        for thought, call in list(self._owners.items()):
            call.collect(thought)
            if thought.state is not None:
                del self._owners[thought]
            if call.finished or call.has_news:
                news.add(call)
        self._wake(list(news))

    def _remove_unwanted(self) -> None:
        """Free the slots of calls that have ended, since their caller has given up, or after an error."""
        if unwanted := [thought for thought, call in self._owners.items() if call.finished]:
            assert self._batch is not None
            self._batch.remove(unwanted)
            for thought in unwanted:
                del self._owners[thought]

    def _drop_batch(self) -> None:
        """Drop the batch. Its thoughts are read again, with the tokens that they have."""
        self._rest()
        for call in list(self._turns.calls):
            if isinstance(call, ThinkCall):
                call.requeue()
            self._turns.wake(call)

    def _blame(self, members: Sequence[ModelCall], error: Exception) -> None:
        """Fail the call that has caused an error; if there are several that may have, run each one alone."""
        if len(members) == 1:
            self._fail(members[0], error)
        for call in members:
            call.alone = True

    def _fail(self, call: ModelCall, error: Exception) -> None:
        call.fail(error)
        self._turns.wake(call)

    @contextmanager
    def _running(self) -> Iterator[None]:
        """Run the model without gradients, on this loop's number of threads.

        Raises:
            BackendError: The model is on a GPU, and this process was forked from the one that loaded it.
        """
        here = os.getpid() == self._process
        if self._device.type != "cpu" and not here:
            raise BackendError(
                f"the model was loaded on {self._device} before a fork, and a forked process cannot use it; load it in "
                "each process, after the fork"
            )
        with torch.inference_mode():
            before = torch.get_num_threads()
            # A forked process does not have its parent's threads, and would wait for them forever.
            torch.set_num_threads((self._threads or before) if here else 1)
            try:
                yield
            finally:
                if here:
                    torch.set_num_threads(before)

    def _wake(self, members: Sequence[ModelCall]) -> None:
        for call in members:
            if call.finished or call.has_news:
                self._turns.wake(call)
