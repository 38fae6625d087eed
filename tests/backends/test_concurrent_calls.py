"""Calls of several threads share the local model: batches, cancellation, fairness, faults, interrupts and forks."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from t1_vectorstore.backends.batching import Layout
from t1_vectorstore.backends.decoder.decoder import Decoder
from t1_vectorstore.backends.decoder.scheduler import ThoughtBatch
from t1_vectorstore.backends.decoding import ThoughtState
from t1_vectorstore.backends.local import LocalBackend
from t1_vectorstore.checkpoints.spec import Decoding
from t1_vectorstore.errors import OutOfMemoryWarning
from t1_vectorstore.types import Trajectory
from tests.backends.contract import cosines
from tests.backends.models import DECODING, PROMPTS, load, states

CLOSED = [[*prompt, 4] for prompt in PROMPTS]
LONG = Decoding(max_tokens=400)
ENDLESS = [prompt for prompt in PROMPTS if len(prompt) > 60][:1]


@pytest.fixture
def backend(tiny: Path) -> LocalBackend:
    return load(tiny)


def start(backend: LocalBackend, calls: Sequence[Callable[[], Any]], monkeypatch: pytest.MonkeyPatch) -> list[Future]:
    """Start calls in threads; the first forward pass begins when all of them have arrived."""
    turns, take_turn = backend.loop._turns, backend.loop._take_turn

    def wait_for_all() -> None:
        while len(turns.calls) < len(calls):
            time.sleep(0.001)
        monkeypatch.setattr(backend.loop, "_take_turn", take_turn)
        take_turn()

    monkeypatch.setattr(backend.loop, "_take_turn", wait_for_all)
    executor = ThreadPoolExecutor(len(calls))
    futures = [executor.submit(call) for call in calls]
    executor.shutdown(wait=False)
    return futures


def results(futures: Sequence[Future]) -> list[Any]:
    return [future.result(60) for future in futures]


def same(found: Sequence[Trajectory], expected: Sequence[Trajectory]) -> bool:
    equal = [(t.ids, t.stop) for t in found] == [(t.ids, t.stop) for t in expected]
    return equal and bool(cosines(states(list(found)), states(list(expected))).min() >= 0.9999)


def test_threads_share_forward_passes(backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [backend.think([prompt], DECODING) for prompt in PROMPTS]
    read: list[int] = []
    forward = Decoder.__call__
    monkeypatch.setattr(
        Decoder, "__call__", lambda self, ids, *a, **k: read.append(len(ids)) or forward(self, ids, *a, **k)
    )
    found = results(start(backend, [lambda p=p: backend.think([p], DECODING) for p in PROMPTS], monkeypatch))
    assert all(same(one, other) for one, other in zip(found, expected, strict=True))
    assert len(read) < 35  # as many as the longest thought takes, and a few to read the prompts; one by one over 300
    assert backend.loop._batch is None


def test_texts_of_several_threads_share_a_batch(backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = backend.encode(CLOSED)
    sizes: list[int] = []
    encode = backend.model.encode
    monkeypatch.setattr(backend.model, "encode", lambda texts: sizes.append(len(texts)) or encode(texts))
    found = results(start(backend, [lambda ids=ids: backend.encode([ids]) for ids in CLOSED], monkeypatch))
    assert cosines(np.concatenate(found), expected).min() >= 0.9999
    assert len(sizes) <= 3


@pytest.fixture
def layouts(monkeypatch: pytest.MonkeyPatch) -> list[Layout]:
    """The layouts of the cache, one after the other."""
    used: list[Layout] = []
    admit = ThoughtBatch.admit

    def recorded(self: ThoughtBatch, thoughts: Sequence[ThoughtState], layout: Layout) -> None:
        if used[-1:] != [layout]:
            used.append(layout)
        admit(self, thoughts, layout)

    monkeypatch.setattr(ThoughtBatch, "admit", recorded)
    return used


def test_thoughts_join_a_running_batch(backend: LocalBackend, layouts: list[Layout]) -> None:
    """Longer ones as well, and those with another prefix: the cache is copied to another layout."""
    later = [*PROMPTS[4:10], PROMPTS[0] + PROMPTS[1], [9] + PROMPTS[2] * 2, *PROMPTS[10:14]]
    how = Decoding(max_tokens=60)
    expected = backend.think(PROMPTS[:4], how), backend.think(later, DECODING)
    layouts.clear()
    joined: list[Future] = []
    with ThreadPoolExecutor(len(later)) as threads:

        def on_tokens(index: int, new: Sequence[int]) -> None:
            if len(joined) < len(later):
                joined.append(threads.submit(backend.think, [later[len(joined)]], DECODING))
                while len(backend.loop._turns.calls) < 2 and not joined[-1].done():
                    time.sleep(0.001)

        assert same(backend.think(PROMPTS[:4], how, on_tokens=on_tokens), expected[0])
        assert same([future.result()[0] for future in joined], expected[1])
    assert layouts[0].slots == 4
    assert len({layout.tokens for layout in layouts}) > 1


def test_samples_share_their_prompt_until_others_join(backend: LocalBackend, layouts: list[Layout]) -> None:
    sampled = Decoding(max_tokens=30, temperature=1.0)
    expected = backend.think(ENDLESS, sampled, samples=6), backend.think(PROMPTS[:3], DECODING)
    layouts.clear()
    other: list[Future] = []
    with ThreadPoolExecutor(1) as thread:

        def on_tokens(index: int, new: Sequence[int]) -> None:
            if not other:
                other.append(thread.submit(backend.think, PROMPTS[:3], DECODING))
                while len(backend.loop._turns.calls) < 2:
                    time.sleep(0.001)

        assert same(backend.think(ENDLESS, sampled, samples=6, on_tokens=on_tokens), expected[0])
        assert same(other[0].result(60), expected[1])
    prefixes = [len(layout.prefix) for layout in layouts]
    assert prefixes[0] == len(ENDLESS[0]) - 1
    assert prefixes[-1] < prefixes[0]


@pytest.mark.parametrize("first", [True, False], ids=["leading", "waiting"])
def test_an_error_of_a_callback_frees_the_slot(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    expected = backend.think(PROMPTS[:2], DECODING)
    backend.loop.cache_budget.tokens = 500  # for the long one alone
    seen: list[int] = []

    def give_up(index: int, new: Sequence[int]) -> None:
        seen.extend(new)
        if len(seen) == 3:
            raise KeyError("enough")

    calls = [
        lambda: backend.think(ENDLESS, LONG, on_tokens=give_up),
        lambda: backend.think(PROMPTS[:2], DECODING),
    ]
    given_up, other = start(backend, calls, monkeypatch)
    with pytest.raises(KeyError, match="enough"):
        given_up.result(60)
    assert same(other.result(60), expected)
    assert len(seen) == 3
    assert backend.loop._batch is None
    assert not backend.loop._owners


def test_memory_is_freed_after_a_call_was_given_up(backend: LocalBackend) -> None:
    def give_up(index: int, new: Sequence[int]) -> None:
        raise KeyError

    with pytest.raises(KeyError):
        backend.think(ENDLESS, LONG, on_tokens=give_up)
    assert backend.loop._batch is None


def test_a_slow_callback_delays_only_its_own_call(backend: LocalBackend) -> None:
    """It is called while another thread runs the model; it may call the backend, too."""
    expected = backend.think(PROMPTS[:2], DECODING)
    found: list[Any] = []

    def on_tokens(index: int, new: Sequence[int]) -> None:
        if not found:
            with ThreadPoolExecutor(1) as thread:
                found.append(thread.submit(backend.think, PROMPTS[:2], DECODING).result(60))
            found.append(backend.think(PROMPTS[:2], DECODING))

    assert same(backend.think(PROMPTS[:2], DECODING, on_tokens=on_tokens), expected)
    assert all(same(each, expected) for each in found)


def test_documents_and_queries_do_not_starve_each_other(backend: LocalBackend) -> None:
    """Neither ends before it is served while the other one goes on."""
    backend.loop.batch_budget.tokens = 200
    done, thought = threading.Event(), threading.Event()

    def think() -> None:
        while not done.is_set():
            backend.think(PROMPTS[:1], DECODING)
            thought.set()

    def index() -> int:
        rounds = 0
        while not thought.is_set():
            backend.encode(CLOSED)
            rounds += 1
        return rounds

    with ThreadPoolExecutor(4) as threads:
        indexing = [threads.submit(index) for _ in range(2)]
        thinking = [threads.submit(think) for _ in range(2)]
        assert all(future.result(60) for future in indexing)
        backend.encode(CLOSED * 3)  # thoughts go on meanwhile
        backend.encode(CLOSED[:1])
        done.set()
        results(thinking)


def test_batches_of_documents_are_small_while_there_are_queries(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    encode = backend.model.encode
    monkeypatch.setattr(backend.model, "encode", lambda texts: sizes.append(sum(map(len, texts))) or encode(texts))
    backend.encode(CLOSED * 4)
    assert max(sizes) > 900
    sizes.clear()
    backend.think(PROMPTS[:1], DECODING)
    backend.encode(CLOSED * 4)
    assert max(sizes) > 900  # this thread cannot ask at the same time
    sizes.clear()
    with ThreadPoolExecutor(1) as thread:
        thread.submit(backend.think, PROMPTS[:1], DECODING).result()
        backend.encode(CLOSED * 4)
        assert max(sizes) <= 256
        asked, by = backend.loop._last_query
        backend.loop._last_query = asked - 60, by
        sizes.clear()
        backend.encode(CLOSED * 4)
        assert max(sizes) > 900


def test_an_error_of_the_model_fails_only_the_call_that_causes_it(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison, embed = 299, Decoder.embed
    assert not any(poison in prompt for prompt in PROMPTS)

    def fail(self: Decoder, ids: torch.Tensor) -> torch.Tensor:
        if (ids == poison).any():
            raise IndexError("no such token")
        return embed(self, ids)

    monkeypatch.setattr(Decoder, "embed", fail)
    thoughts, vectors = backend.think(PROMPTS[:5], DECODING), backend.encode(CLOSED[:5])
    calls: list[Callable[[], Any]] = [lambda p=p: backend.think([p], DECODING) for p in PROMPTS[:5]]
    calls += [lambda ids=ids: backend.encode([ids]) for ids in CLOSED[:5]]
    calls[3:3] = [lambda: backend.think([[5, poison, 6]], DECODING), lambda: backend.encode([[5, poison, 6]])]
    futures = start(backend, calls, monkeypatch)
    for failed in futures[3:5]:
        with pytest.raises(IndexError, match="no such token"):
            failed.result(60)
    found = results([*futures[:3], *futures[5:]])
    assert same([each[0] for each in found[:5]], thoughts)
    assert cosines(np.concatenate(found[5:]), vectors).min() >= 0.9999


@pytest.mark.parametrize("when", ["admit", "step"])
def test_an_interrupt_ends_only_the_call_of_its_thread(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """The others continue from the tokens that they have, which are reported once."""
    decoding = Decoding(max_tokens=30)
    expected = backend.think(PROMPTS[:6], decoding)
    reported: list[list[int]] = [[] for _ in range(6)]
    original, passes = getattr(ThoughtBatch, when), []
    leader: list[int] = []

    def interrupted(self: ThoughtBatch, *arguments: Any) -> None:
        original(self, *arguments)
        passes.append(when)
        if len(passes) == (1 if when == "admit" else 5):
            leader.append(threading.get_ident())
            raise KeyboardInterrupt

    monkeypatch.setattr(ThoughtBatch, when, interrupted)
    idents: list[int] = [0] * 6

    def think(at: int) -> Any:
        idents[at] = threading.get_ident()
        try:
            return backend.think(PROMPTS[at : at + 1], decoding, on_tokens=lambda _, new: reported[at].extend(new))
        except KeyboardInterrupt:
            return None

    found = results(start(backend, [lambda at=at: think(at) for at in range(6)], monkeypatch))
    stopped = idents.index(leader[0])
    assert [at for at, each in enumerate(found) if each is None] == [stopped]
    for at, each in enumerate(found):
        if at != stopped:
            assert same(each, expected[at : at + 1])
            assert reported[at] == list(expected[at].ids)


def test_out_of_memory_with_several_calls(backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = backend.think(PROMPTS[:8], DECODING)
    reported: list[list[int]] = [[] for _ in range(8)]
    step = ThoughtBatch.step

    def limited(self: ThoughtBatch) -> None:
        step(self)
        if len(self.thoughts) > 3 and any(len(thought.ids) == 5 for thought in self.thoughts):
            raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(ThoughtBatch, "step", limited)

    def think(at: int) -> list[Trajectory]:
        return backend.think(PROMPTS[at : at + 1], DECODING, on_tokens=lambda _, new: reported[at].extend(new))

    with pytest.warns(OutOfMemoryWarning):
        found = results(start(backend, [lambda at=at: think(at) for at in range(8)], monkeypatch))
    assert same([each[0] for each in found], expected)
    assert reported == [list(thought.ids) for thought in expected]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_within_a_callback(backend: LocalBackend) -> None:
    """The child completes the call of the thread that has forked, and forgets those of the others."""
    expected = backend.think(PROMPTS[:3], LONG)
    children: list[int] = []

    def on_tokens(index: int, new: Sequence[int]) -> None:
        if not children:
            children.append(os.fork())
            if children[0] == 0:
                signal.alarm(60)

    with ThreadPoolExecutor(1) as thread:
        other = thread.submit(backend.think, PROMPTS[3:6], LONG)
        parent = os.getpid()
        try:
            found = same(backend.think(PROMPTS[:3], LONG, on_tokens=on_tokens), expected)
        finally:
            if os.getpid() != parent:
                os._exit(0 if found else 1)
        assert found
        assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 0
        other.result(60)


@pytest.mark.thorough
def test_many_threads_with_many_short_calls(backend: LocalBackend) -> None:
    expected = [backend.think([prompt], DECODING) for prompt in PROMPTS]
    vectors = backend.encode(CLOSED)

    def work(at: int) -> bool:
        fine = True
        for number in range(at, at + 12):
            number %= len(PROMPTS)
            if number % 3:
                fine &= same(backend.think([PROMPTS[number]], DECODING), expected[number])
            else:
                fine &= bool(cosines(backend.encode([CLOSED[number]]), vectors[number : number + 1]).min() >= 0.9999)
        return fine

    with ThreadPoolExecutor(16) as threads:
        assert all(threads.map(work, range(16), timeout=120))
    assert backend.loop._batch is None
    assert not backend.loop._turns.calls
