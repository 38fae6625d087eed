"""Patterns of texts: ``the [land|state] that [touches|borders] {x}`` stands for all its combinations.

A text is chosen from its pattern instead of a list of all texts: a pattern with hundreds of combinations is then as
frequent as one with two.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator
from itertools import product


def expand(pattern: str) -> Iterator[str]:
    """Yield all texts of a pattern, one for each combination of the alternatives in brackets."""
    for chosen in product(*_alternatives(pattern)):
        yield _join(chosen)


def choose_text(pattern: str, rng: random.Random) -> str:
    """Return a random text of a pattern. A pattern without brackets is its only text, and does not use ``rng``."""
    return _join([rng.choice(ways) if len(ways) > 1 else ways[0] for ways in _alternatives(pattern)])


def _alternatives(pattern: str) -> list[list[str]]:
    return [part.split("|") for part in re.split(r"[\[\]]", pattern)]


def _join(parts: Iterable[str]) -> str:
    return " ".join("".join(parts).split())
