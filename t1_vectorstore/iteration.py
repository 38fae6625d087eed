"""Splitting sequences into parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

_Item = TypeVar("_Item")


def batched(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    """Yield lists of ``size`` items; the last one may be shorter."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def halves(items: Sequence[_Item]) -> tuple[Sequence[_Item], Sequence[_Item]]:
    """Return the first half of a sequence, and the rest."""
    middle = len(items) // 2
    return items[:middle], items[middle:]
