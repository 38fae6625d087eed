"""Patterns of wordings: ``the [land|state] that [touches|borders] {x}`` stands for all its combinations.

They are drawn from, not written out: a pattern of hundreds of combinations is then heard as often as one of two.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator
from itertools import product


def expand(pattern: str) -> Iterator[str]:
    """Yield every text that a pattern stands for: one of the ways in each pair of brackets."""
    for chosen in product(*_parts(pattern)):
        yield _joined(chosen)


def draw(pattern: str, rng: random.Random) -> str:
    """Return one of the texts; a pattern without brackets is its own, and takes nothing from ``rng``."""
    return _joined([rng.choice(ways) if len(ways) > 1 else ways[0] for ways in _parts(pattern)])


def _parts(pattern: str) -> list[list[str]]:
    return [part.split("|") for part in re.split(r"[\[\]]", pattern)]


def _joined(parts: Iterable[str]) -> str:
    return " ".join("".join(parts).split())
