"""Loads into a folder that are killed at any moment: the next load completes exactly the same index."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.faults.attempt import Attempt, draw_kills
from tests.faults.corpus import draw
from tests.faults.state import contents

FEW, MANY = range(5), range(5, 96)  # 200 runs together with the 104 of test_server_faults.py


@pytest.mark.parametrize(
    "seed",
    [
        *(pytest.param(seed, marks=pytest.mark.process) for seed in FEW),
        *(pytest.param(seed, marks=pytest.mark.faults) for seed in MANY),
    ],
)
def test_a_killed_load_is_completed_by_the_next(tmp_path: Path, seed: int) -> None:
    corpus, kills = draw(seed), draw_kills(Random(seed))
    first = Attempt(str(tmp_path / "index"), corpus.before)
    last = Attempt(str(tmp_path / "index"), corpus.after)
    if seed % 2:
        first.run()
    else:
        assert not first.in_a_process(kills[0])
    killed = [not last.in_a_process(kill) for kill in kills]
    assert any(killed), "no load was killed, so this run tests nothing"
    assert last.in_a_process()
    reference = Attempt(str(tmp_path / "reference"), corpus.after)
    reference.run()
    with last.open() as collection, reference.open() as expected:
        assert contents(collection) == contents(expected)
