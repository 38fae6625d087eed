"""Recover from running out of memory: halve the token budget, and continue with smaller batches."""

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

_MESSAGES = ("out of memory", "can't allocate memory", "failed to allocate memory", "could not create a primitive")
"""Messages of libraries without an error type for it: MPS, the CPU allocator, oneDNN. The last one is all that oneDNN
says if it has no memory for a product; that it supports such products was checked when the weights were loaded."""


class OutOfMemoryWarning(RuntimeWarning):
    """A forward pass ran out of memory; smaller ones are used from now on."""


class TokenBudget:
    """Maximum number of tokens in memory at a time. Running out of memory halves it for good."""

    def __init__(self, tokens: int, device: torch.device) -> None:
        self.tokens = tokens
        self._device = device

    def run_batches(
        self, lengths: Sequence[int], forward: Callable[[list[int]], _Result], *, padded: bool
    ) -> Iterator[tuple[list[int], _Result]]:
        """Process sequences in batches of ``batches_by_tokens``.

        Args:
            lengths: Length of each sequence in tokens.
            forward: Processes a batch, given the indices of its sequences; called again for those that did not fit.
            padded: Whether batches are rectangles.

        Yields:
            The indices of a batch's sequences, and the result of ``forward``.

        Raises:
            BackendError: A single sequence does not fit.
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
            # After the handler, so that the error and its traceback, which hold tensors, are freed.
            cost = max(lengths[index] for index in batch) * len(batch) if padded else sum(lengths[i] for i in batch)
            # Lower the budget below what did not fit, and divide all that is left by the new one.
            self._halve(cost)
            left = [index for batch in batches for index in batch]
            smaller = batches_by_tokens([lengths[index] for index in left], self.tokens, padded=padded)
            batches = [[left[position] for position in batch] for batch in smaller]

    def run_together(self, lengths: Sequence[int], forward: Callable[[int], _Result], *, shared: int = 0) -> _Result:
        """Process all sequences in one call, which keeps a limited number of them in memory at a time.

        Args:
            lengths: Length of each sequence in tokens.
            forward: Processes all sequences, given that limit; called again for all of them if they did not fit.
            shared: Number of tokens that are in memory once for all sequences.

        Raises:
            BackendError: A single sequence at a time does not fit.
        """
        longest = max(lengths)
        while True:
            limit = min(len(lengths), max(1, (self.tokens - shared) // longest))
            try:
                return forward(limit)
            except (RuntimeError, MemoryError) as error:
                if not _is_out_of_memory(error):
                    raise
                if limit == 1:
                    raise self._too_long(shared + longest, error) from error
            self._halve(shared + limit * longest)

    def _too_long(self, tokens: int, error: Exception) -> BackendError:
        return BackendError(
            f"out of memory on {self._device} with a single text of {tokens} tokens: {error}. "
            "Free some memory, lower max_document_tokens or the thinking budget, or use a smaller dtype."
        )

    def _halve(self, cost: int) -> None:
        """Halve the budget after ``cost`` tokens did not fit."""
        self.tokens = min(self.tokens, cost) // 2
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        elif self._device.type == "cpu" and platform.libc_ver()[0] == "glibc":
            ctypes.CDLL(None).malloc_trim(0)  # oneDNN maps its own memory, so it cannot use what malloc keeps
        warnings.warn(
            f"out of memory on {self._device} with {cost} tokens in a forward pass: continuing with {self.tokens}. "
            f"Pass batch_tokens={self.tokens} to start with that.",
            OutOfMemoryWarning,
            stacklevel=external_stacklevel(),
        )


def _is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(message in str(error) for message in _MESSAGES)
