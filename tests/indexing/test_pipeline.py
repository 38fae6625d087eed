"""The pipeline overlaps its steps, keeps their order, bounds what is under way and lets nothing outlive an error."""

from __future__ import annotations

import threading
import time

import pytest

from t1_vectorstore.indexing.pipeline import Pipeline, Stopped

Work = list[str]


def nothing() -> None:
    pass


def step(name: str) -> object:
    def take(work: Work) -> None:
        work.append(name)

    return take


def run(steps: list[object], works: list[Work]) -> None:
    with Pipeline(steps, depth=4) as pipeline:  # type: ignore[arg-type]
        for work in works:
            pipeline.submit(work, nothing)
        pipeline.wait(0, nothing)


def test_each_piece_goes_through_all_steps_in_order() -> None:
    order: list[Work] = []
    works: list[Work] = [[] for _ in range(20)]
    run([step("a"), step("b"), order.append], works)
    assert works == [["a", "b"]] * 20
    assert [id(work) for work in order] == [id(work) for work in works]


def test_the_steps_work_at_the_same_time() -> None:
    meeting = threading.Barrier(3, timeout=60)  # broken, and so an error, if three steps are never at work together

    works = [[], [], []]  # type: ignore[var-annotated]
    met: list[int] = []

    def first_to_come(number: int) -> object:
        def take(work: Work) -> None:
            if work is works[2 - number]:
                met.append(meeting.wait())

        return take

    with Pipeline([first_to_come(0), first_to_come(1), first_to_come(2)], depth=3) as pipeline:  # type: ignore[list-item]
        for work in works:
            pipeline.submit(work, nothing)
        pipeline.wait(0, nothing)
    assert sorted(met) == [0, 1, 2]


def test_no_more_is_under_way_than_the_depth() -> None:
    under_way, most = 0, 0
    lock = threading.Lock()

    def leave(work: Work) -> None:
        nonlocal under_way
        time.sleep(0.001)
        with lock:
            under_way -= 1

    with Pipeline([step("a"), leave], depth=3) as pipeline:  # type: ignore[list-item]
        for _ in range(50):
            pipeline.wait(2, nothing)
            with lock:
                under_way += 1
                most = max(most, under_way)
            pipeline.submit([], nothing)
    assert most <= 3


@pytest.mark.parametrize("failing", range(3))
def test_an_error_of_a_step_stops_all_and_is_raised_as_it_is(failing: int) -> None:
    error = LookupError("mine")
    done: list[Work] = []
    works: list[Work] = [[] for _ in range(1000)]

    def fail(work: Work) -> None:
        if work is works[2]:
            raise error

    steps: list[object] = [nothing_done, nothing_done, done.append]
    steps.insert(failing, fail)
    before = threading.active_count()
    with pytest.raises(LookupError) as caught:
        run(steps, works)
    assert caught.value is error
    assert len(done) <= 2
    assert threading.active_count() == before


def nothing_done(work: Work) -> None:
    pass


def test_an_interruption_ends_a_long_step() -> None:
    left = threading.Event()

    def endless(work: Work) -> None:
        try:
            while True:
                pipeline.go_on()
                time.sleep(0.001)
        except Stopped:
            left.set()
            raise

    def interrupt() -> None:
        raise KeyboardInterrupt

    before = threading.active_count()
    pipeline: Pipeline[Work] = Pipeline([endless], depth=1)
    with pipeline:
        pipeline.submit([], nothing)
        with pytest.raises(KeyboardInterrupt):
            pipeline.submit([], interrupt)
    assert left.is_set()
    assert threading.active_count() == before
