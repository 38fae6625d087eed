"""The pipeline overlaps its steps, keeps their order, bounds the items in progress, and stops at an error."""

from __future__ import annotations

import threading
import time

import pytest

from t1_vectorstore.indexing.pipeline import Pipeline, Stopped

Work = list[str]


def no_callback() -> None:
    pass


def step(name: str) -> object:
    def run_step(work: Work) -> None:
        work.append(name)

    return run_step


def run(steps: list[object], works: list[Work]) -> None:
    with Pipeline(steps, depth=4) as pipeline:  # type: ignore[arg-type]
        for work in works:
            pipeline.submit(work, no_callback)
        pipeline.wait(0, no_callback)


def test_each_item_goes_through_all_steps_in_order() -> None:
    order: list[Work] = []
    works: list[Work] = [[] for _ in range(20)]
    run([step("a"), step("b"), order.append], works)
    assert works == [["a", "b"]] * 20
    assert [id(work) for work in order] == [id(work) for work in works]


def test_the_steps_run_at_the_same_time() -> None:
    barrier = threading.Barrier(3, timeout=60)  # raises an error if the three steps never run together

    works = [[], [], []]  # type: ignore[var-annotated]
    passed: list[int] = []

    def meet(number: int) -> object:
        def run_step(work: Work) -> None:
            if work is works[2 - number]:
                passed.append(barrier.wait())

        return run_step

    with Pipeline([meet(0), meet(1), meet(2)], depth=3) as pipeline:  # type: ignore[list-item]
        for work in works:
            pipeline.submit(work, no_callback)
        pipeline.wait(0, no_callback)
    assert sorted(passed) == [0, 1, 2]


def test_at_most_depth_items_are_in_progress() -> None:
    in_progress, most = 0, 0
    lock = threading.Lock()

    def finish(work: Work) -> None:
        nonlocal in_progress
        time.sleep(0.001)
        with lock:
            in_progress -= 1

    with Pipeline([step("a"), finish], depth=3) as pipeline:  # type: ignore[list-item]
        for _ in range(50):
            pipeline.wait(2, no_callback)
            with lock:
                in_progress += 1
                most = max(most, in_progress)
            pipeline.submit([], no_callback)
    assert most <= 3


@pytest.mark.parametrize("failing", range(3))
def test_an_error_of_a_step_stops_all_steps_and_is_raised_unchanged(failing: int) -> None:
    error = LookupError("mine")
    done: list[Work] = []
    works: list[Work] = [[] for _ in range(1000)]

    def fail(work: Work) -> None:
        if work is works[2]:
            raise error

    steps: list[object] = [do_nothing, do_nothing, done.append]
    steps.insert(failing, fail)
    before = threading.active_count()
    with pytest.raises(LookupError) as caught:
        run(steps, works)
    assert caught.value is error
    assert len(done) <= 2
    assert threading.active_count() == before


def do_nothing(work: Work) -> None:
    pass


def test_an_interruption_ends_a_long_step() -> None:
    left = threading.Event()

    def endless(work: Work) -> None:
        try:
            while True:
                pipeline.check_stopped()
                time.sleep(0.001)
        except Stopped:
            left.set()
            raise

    def interrupt() -> None:
        raise KeyboardInterrupt

    before = threading.active_count()
    pipeline: Pipeline[Work] = Pipeline([endless], depth=1)
    with pipeline:
        pipeline.submit([], no_callback)
        with pytest.raises(KeyboardInterrupt):
            pipeline.submit([], interrupt)
    assert left.is_set()
    assert threading.active_count() == before
