"""What shares a forward pass, and what comes next: decided without a model, so tested without one."""

from __future__ import annotations

from itertools import islice

import pytest

from t1_vectorstore.backends.batching import (
    CacheNeed,
    FairShares,
    Layout,
    batches_by_tokens,
    choose_layout,
    fair_order,
    first_batch,
    shared_prefix_length,
)

SAME = list(range(100))


def need(tokens: int, budget: int, start: int = 0) -> CacheNeed:
    return CacheNeed(list(range(start, start + tokens)), tokens + budget)


def simulate(shares: FairShares[str], waiting: dict[str, float], turns: int) -> list[str]:
    """Return which kinds come next, if the work of each takes the given time."""
    chosen = []
    for _ in range(turns):
        chosen.append(shares.choose(list(waiting)))
        shares.charge(chosen[-1], waiting[chosen[-1]])
    return chosen


def test_each_kind_gets_its_share_of_the_time() -> None:
    shares = FairShares({"thoughts": 2.0, "documents": 1.0})
    chosen = simulate(shares, {"thoughts": 1.0, "documents": 10.0}, 2100)
    assert chosen.count("thoughts") == pytest.approx(20 * chosen.count("documents"), rel=0.05)


def test_work_that_arrives_does_not_wait_for_a_backlog() -> None:
    shares = FairShares({"queries": 1.0, "documents": 1.0})
    simulate(shares, {"documents": 5.0}, 1000)
    assert simulate(shares, {"queries": 1.0, "documents": 5.0}, 7) == ["queries"] * 6 + ["documents"]


def test_a_pause_gives_no_credit() -> None:
    shares = FairShares({"queries": 1.0, "documents": 1.0})
    simulate(shares, {"queries": 1.0}, 1)
    simulate(shares, {"documents": 1.0}, 1000)
    chosen = simulate(shares, {"queries": 1.0, "documents": 1.0}, 100)
    assert 49 <= chosen.count("documents") <= 51


def test_equally_due_kinds_come_in_order() -> None:
    shares = FairShares({"a": 1.0, "b": 1.0})
    assert shares.choose(["b", "a"]) == "a"
    assert shares.choose(["b"]) == "b"


def test_batches() -> None:
    assert batches_by_tokens([3, 9, 4, 4], 8, padded=False) == [[1], [2, 3], [0]]
    assert batches_by_tokens([3, 4, 4, 3], 8, padded=True) == [[1, 2], [0, 3]]
    assert batches_by_tokens([], 8, padded=True) == []
    assert first_batch([2, 5, 2], 8, padded=True) == 1
    assert first_batch([2, 5, 2], 8, padded=False) == 2
    assert first_batch([9, 1], 0, padded=False) == 1
    assert first_batch([], 8, padded=False) == 0


def test_a_slot_goes_to_the_call_with_the_fewest_thoughts() -> None:
    assert list(fair_order(["aaaa", "bb"], [0, 0])) == ["a", "b", "a", "b", "a", "a"]
    assert list(fair_order(["aaa", "bb", "c"], [0, 3, 1])) == ["a", "a", "c", "a", "b", "b"]
    assert list(islice(fair_order(["a" * 10**6, "b"], [5, 0]), 2)) == ["b", "a"]
    assert list(fair_order([], [])) == []


def test_layout_of_a_single_call() -> None:
    assert choose_layout([], [need(10, 5)], 1000, shared_prefix=True) == Layout(1, 15)
    assert choose_layout([], [need(10, 5), need(20, 5, start=1)], 1000, shared_prefix=True) == Layout(2, 25)
    assert choose_layout([], [need(10, 5, start=at) for at in range(9)], 50, shared_prefix=True) == Layout(3, 15)
    # One that is longer than the whole cache is admitted alone.
    assert choose_layout([], [need(10, 5), need(10, 5)], 12, shared_prefix=False) == Layout(1, 15)


def test_layout_with_a_shared_prefix() -> None:
    waiting = [CacheNeed([*SAME, end], 111) for end in range(3)]
    assert choose_layout([], waiting, 132, shared_prefix=True) == Layout(2, 11, tuple(SAME))
    assert choose_layout([], waiting, 132, shared_prefix=False) == Layout(1, 111)


def test_joining_a_running_batch() -> None:
    active = [need(10, 5, start=1)] * 2
    # The cache is copied, so it gets more room than is needed now.
    assert choose_layout(active, [need(30, 5, start=2)], 1000, shared_prefix=True) == Layout(6, 64)
    assert choose_layout(active, [need(30, 5, start=2)], 130, shared_prefix=True) == Layout(3, 64)
    # A long one waits until there is room, whatever comes after it.
    assert choose_layout(active, [need(90, 5), need(1, 1)], 200, shared_prefix=True) is None
    assert choose_layout([], [need(90, 5), need(1, 1)], 200, shared_prefix=True) == Layout(2, 95)


def test_which_thoughts_a_layout_holds() -> None:
    layout = Layout(2, 10, (0, 1, 2))
    assert layout.holds(CacheNeed([0, 1, 2, 9], 13))
    assert not layout.holds(CacheNeed([0, 1, 2, 9], 14))
    assert not layout.holds(CacheNeed([0, 1, 9, 9], 13))
    assert not layout.holds(CacheNeed([0, 1, 2], 5))  # the states at its last token are needed
    assert Layout(2, 10).holds(CacheNeed([5], 10))


def test_length_of_the_shared_prefix() -> None:
    assert shared_prefix_length([[*SAME, 1], [*SAME, 2]]) == 100
    assert shared_prefix_length([SAME, SAME]) == 99
    assert shared_prefix_length([SAME, SAME[:80]]) == 79
    assert shared_prefix_length([SAME[:60], SAME[:60]]) == 0  # it would save too little
    assert shared_prefix_length([SAME[:30]] * 4) == 29
    assert shared_prefix_length([[1], [1, 2]]) == 0
    assert shared_prefix_length([[3, *SAME], [2, *SAME]]) == 0
