"""Patterns of wordings: ``the [land|state] that [touches|borders] {x}`` stands for all its combinations."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import product


def expand(pattern: str) -> Iterator[str]:
    """Yield every text that a pattern stands for: one of the ways in each pair of brackets."""
    parts = [part.split("|") for part in re.split(r"[\[\]]", pattern)]
    for chosen in product(*parts):
        yield " ".join("".join(chosen).split())


def expand_all(patterns: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Return all texts of several patterns, each once, by key."""
    return {key: tuple(dict.fromkeys(t for pattern in ways for t in expand(pattern))) for key, ways in patterns.items()}
