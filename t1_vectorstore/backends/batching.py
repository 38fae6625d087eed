"""Which texts and thoughts share a forward pass, and in which order. Plain Python without tensors."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

_MIN_SAVED_TOKENS = 64
"""How many tokens a shared prefix must save to be computed on its own, which takes a forward pass more."""

_ROUNDED_TOKENS = 32
"""A cache that grows gets slots of a multiple of this number of tokens, so that it does not grow at each arrival."""

Kind = TypeVar("Kind", bound=str)
T = TypeVar("T")


def batches_by_tokens(lengths: Sequence[int], max_tokens: int, *, padded: bool) -> list[list[int]]:
    """Group sequences of similar length under a token budget, longest first.

    With this order memory runs out in the first batch or not at all.

    Args:
        lengths: Length of each sequence in tokens.
        max_tokens: Maximum number of tokens in a batch; a longer sequence gets a batch of its own.
        padded: Count every sequence as long as the longest in its batch, which is what a rectangular batch costs.

    Returns:
        The indices of the sequences in each batch.
    """
    left = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    batches: list[list[int]] = []
    at = 0
    while at < len(left):
        count = first_batch((lengths[left[i]] for i in range(at, len(left))), max_tokens, padded=padded)
        batches.append(left[at : at + count])
        at += count
    return batches


def first_batch(lengths: Iterable[int], max_tokens: int, *, padded: bool) -> int:
    """Return how many of the first sequences fit into a batch; see ``batches_by_tokens``. At least one does."""
    count, longest, total = 0, 0, 0
    for length in lengths:
        longest, total = max(longest, length), total + length
        if count and (longest * (count + 1) if padded else total) > max_tokens:
            break
        count += 1
    return count


class FairShares(Generic[Kind]):
    """Divides time between kinds of work: start-time fair queueing (Goyal, Vin and Cheng, 1996).

    Each kind that has work gets at least its weight's share of the time. Work that arrives after a pause comes next, so
    it waits for what is running at that moment, and not for a backlog of another kind.
    """

    def __init__(self, weights: Mapping[Kind, float]) -> None:
        """Set the weights. Of kinds that are equally due, the first one comes next."""
        self._weights = dict(weights)
        self._finished = dict.fromkeys(weights, 0.0)  # virtual time at which a kind's last work ended
        self._now = 0.0  # virtual time at which the current work has started

    def choose(self, waiting: Collection[Kind]) -> Kind:
        """Return which of the kinds that have work comes next."""
        return min((kind for kind in self._weights if kind in waiting), key=self._start)

    def charge(self, kind: Kind, seconds: float) -> None:
        """Record the time that a kind's work has taken."""
        self._now = self._start(kind)
        self._finished[kind] = self._now + seconds / self._weights[kind]

    def _start(self, kind: Kind) -> float:
        return max(self._now, self._finished[kind])


@dataclass(frozen=True)
class CacheNeed:
    """What a thought needs in the cache.

    Attributes:
        tokens: The tokens to read before the next one can be generated.
        length: Maximum number of inputs in all.
    """

    tokens: Sequence[int]
    length: int


@dataclass(frozen=True)
class Layout:
    """Shape of a key-value cache.

    Attributes:
        slots: Maximum number of thoughts at a time.
        tokens: Maximum length of a thought's inputs, after the prefix.
        prefix: Tokens that all thoughts start with. They are in the cache once.
    """

    slots: int
    tokens: int
    prefix: tuple[int, ...] = ()

    def holds(self, need: CacheNeed) -> bool:
        """Whether a thought can take a slot."""
        shared = len(self.prefix)
        return (
            need.length - shared <= self.tokens
            and len(need.tokens) > shared
            and tuple(need.tokens[:shared]) == self.prefix
        )


def choose_layout(
    active: Sequence[CacheNeed], waiting: Sequence[CacheNeed], max_tokens: int, *, shared_prefix: bool
) -> Layout | None:
    """Return a layout in which at least the first waiting thought joins the active ones; ``None`` if it must wait.

    Args:
        active: Thoughts in the cache.
        waiting: Thoughts that wait, in the order in which they will be admitted; at least one.
        max_tokens: Maximum number of tokens in the cache. A single thought is admitted even if it is longer.
        shared_prefix: Whether the cache can hold a shared prefix once.
    """
    # 1. As many waiting thoughts as fit beside each other, in slots of the longest one's length.
    prompts = [need.tokens for need in (*active, *waiting)]
    shared = shared_prefix_length(prompts) if shared_prefix else 0
    longest = max((need.length for need in active), default=0)
    count = len(active)
    for need in waiting:
        if count and max(longest, need.length) - shared > (max_tokens - shared) // (count + 1):
            break
        longest, count = max(longest, need.length), count + 1
    if count == len(active):
        return None
    # 2. A cache with active thoughts is copied, so it gets room for more than those that wait.
    tokens, slots = longest - shared, count
    if active:
        tokens = -(-tokens // _ROUNDED_TOKENS) * _ROUNDED_TOKENS
        slots = max(count, min(2 * count, (max_tokens - shared) // tokens))
    return Layout(slots, tokens, tuple(prompts[0][:shared]))


def shared_prefix_length(prompts: Sequence[Sequence[int]]) -> int:
    """Return how many tokens all prompts start with, or 0 if it is too few to save anything.

    At least the last token of each prompt is not counted, as its states are needed.
    """
    smallest, largest = min(map(list, prompts)), max(map(list, prompts))  # if these two agree, so do all between them
    longest = min(map(len, prompts)) - 1
    shared = next((at for at in range(longest) if smallest[at] != largest[at]), longest)
    return shared if shared * (len(prompts) - 1) >= _MIN_SAVED_TOKENS else 0


def fair_order(queues: Sequence[Iterable[T]], active: Sequence[int]) -> Iterator[T]:
    """Yield the items of several queues: the next one is from the queue with the fewest active items.

    Args:
        queues: The waiting items of each queue. Of equal queues, the first one comes first.
        active: The number of active items of each queue. An item that is yielded counts as active.
    """
    iterators = [iter(queue) for queue in queues]
    heap = [(count, at) for at, count in enumerate(active)]
    heapq.heapify(heap)
    while heap:
        count, at = heap[0]
        try:
            item = next(iterators[at])
        except StopIteration:
            heapq.heappop(heap)
            continue
        heapq.heapreplace(heap, (count + 1, at))
        yield item
