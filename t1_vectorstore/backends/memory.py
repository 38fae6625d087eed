"""Running out of memory does not end the work: the token budget is halved, and the rest goes on in smaller batches."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from t1_vectorstore.batching import batches_by_tokens
from t1_vectorstore.callers import frames_to_the_caller
from t1_vectorstore.errors import BackendError

_Result = TypeVar("_Result")

_SIGNS = ("out of memory", "can't allocate memory", "failed to allocate memory")
"""What torch's allocators write when they have no error of their own: MPS, the CPU, oneDNN."""


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
        """Do every row, in batches as :func:`~t1_vectorstore.batching.batches_by_tokens` makes them.

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
                    raise BackendError(
                        f"out of memory on {self._device} with a single text of {lengths[batch[0]]} tokens: {error}. "
                        "Free some, lower max_document_tokens or the thinking budget, or use a smaller dtype."
                    ) from error
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

    def _halve(self, cost: int) -> None:
        """A batch of ``cost`` tokens did not fit."""
        self.tokens = min(self.tokens, cost) // 2
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        warnings.warn(
            f"out of memory on {self._device} with {cost} tokens in a forward pass: going on with {self.tokens}. "
            f"Pass batch_tokens={self.tokens} to begin with that.",
            OutOfMemoryWarning,
            stacklevel=frames_to_the_caller(),
        )


def _is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(sign in str(error) for sign in _SIGNS)
