"""Running out of memory does not end the work: the token budget is halved, and the rest goes on in smaller batches."""

from __future__ import annotations

import ctypes
import platform
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from t1_vectorstore.backends.batching import batches_by_tokens
from t1_vectorstore.errors import BackendError, external_stacklevel

_Result = TypeVar("_Result")

_SIGNS = ("out of memory", "can't allocate memory", "failed to allocate memory", "could not create a primitive")
"""What is written by those that have no error of their own for it: MPS, the CPU, oneDNN. The last is all that oneDNN
says when a product has no room; that it can compute such products at all was tried when the weights were loaded."""


class OutOfMemoryWarning(RuntimeWarning):
    """A forward pass did not fit; smaller ones are used from now on."""


class TokenBudget:
    """How many tokens share a forward pass: as many as asked for, until memory runs out; then half, for good."""

    def __init__(self, tokens: int, device: torch.device) -> None:
        """Start with a budget that has not failed yet."""
        self.tokens = tokens
        self._device = device

    def run(
        self, lengths: Sequence[int], forward: Callable[[list[int]], _Result], *, padded: bool
    ) -> Iterator[tuple[list[int], _Result]]:
        """Do every row, in batches as :func:`~t1_vectorstore.backends.batching.batches_by_tokens` makes them.

        Args:
            lengths: tokens of each row.
            forward: does the rows of a batch; called again for rows whose batch did not fit.
            padded: batches are rectangles.

        Yields:
            The rows of a batch, and what ``forward`` gave for them.

        Raises:
            BackendError: a row does not fit even alone.
        """
        batches = batches_by_tokens(lengths, self.tokens, padded=padded)
        while batches:
            batch = batches[0]
            try:
                result = forward(batch)
            except (RuntimeError, MemoryError) as error:
                if not _is_out_of_memory(error):
                    raise
                if len(batch) == 1:
                    raise self._too_long(lengths[batch[0]], error) from error
            else:
                batches = batches[1:]
                yield batch, result
                continue
            # Outside of the handler: the error's traceback, which keeps the tensors alive, is gone by now.
            cost = max(lengths[row] for row in batch) * len(batch) if padded else sum(lengths[row] for row in batch)
            self._halve(cost)
            left = [row for batch in batches for row in batch]
            again = batches_by_tokens([lengths[row] for row in left], self.tokens, padded=padded)
            batches = [[left[at] for at in batch] for batch in again]

    def share(self, lengths: Sequence[int], forward: Callable[[int], _Result], *, once: int = 0) -> _Result:
        """Do all rows in one call, which keeps so many of them in memory at a time as the budget allows.

        Args:
            lengths: tokens of each row.
            forward: does all rows, so many at a time; called again, for all, where that did not fit.
            once: tokens beside them that are in memory once for all rows.

        Raises:
            BackendError: not even one row at a time fits.
        """
        longest = max(lengths)
        while True:
            at_once = min(len(lengths), max(1, (self.tokens - once) // longest))
            try:
                return forward(at_once)
            except (RuntimeError, MemoryError) as error:
                if not _is_out_of_memory(error):
                    raise
                if at_once == 1:
                    raise self._too_long(once + longest, error) from error
            self._halve(once + at_once * longest)

    def _too_long(self, tokens: int, error: Exception) -> BackendError:
        return BackendError(
            f"out of memory on {self._device} with a single text of {tokens} tokens: {error}. "
            "Free some, lower max_document_tokens or the thinking budget, or use a smaller dtype."
        )

    def _halve(self, cost: int) -> None:
        """A batch of ``cost`` tokens did not fit."""
        self.tokens = min(self.tokens, cost) // 2
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        elif self._device.type == "cpu" and platform.libc_ver()[0] == "glibc":
            ctypes.CDLL(None).malloc_trim(0)  # what is freed but kept is of no use to oneDNN, which maps its own
        warnings.warn(
            f"out of memory on {self._device} with {cost} tokens in a forward pass: going on with {self.tokens}. "
            f"Pass batch_tokens={self.tokens} to begin with that.",
            OutOfMemoryWarning,
            stacklevel=external_stacklevel(),
        )


def _is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(sign in str(error) for sign in _SIGNS)
