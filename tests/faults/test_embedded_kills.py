"""An index in a folder, and loads that are killed at any moment: the next one ends in exactly the same index."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.faults.attempt import Attempt, draw_deaths
from tests.faults.corpus import draw
from tests.faults.state import contents

FEW, MANY = range(5), range(5, 96)  # with the 104 of test_server_faults.py: 200 runs


@pytest.mark.parametrize("seed", [*FEW, *(pytest.param(seed, marks=pytest.mark.faults) for seed in MANY)])
def test_a_killed_load_is_completed_by_the_next(tmp_path: Path, seed: int) -> None:
    corpus, deaths = draw(seed), draw_deaths(Random(seed))
    first = Attempt(str(tmp_path / "index"), corpus.before)
    last = Attempt(str(tmp_path / "index"), corpus.after)
    if seed % 2:
        first.run()
    else:
        assert not first.in_a_process(deaths[0])
    killed = [not last.in_a_process(death) for death in deaths]
    assert any(killed), "no load was killed: this run shows nothing"
    assert last.in_a_process()
    reference = Attempt(str(tmp_path / "reference"), corpus.after)
    reference.run()
    with last.open() as collection, reference.open() as expected:
        assert contents(collection) == contents(expected)
