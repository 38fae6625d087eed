"""Recover from running out of memory: halve the token budget, and continue with smaller batches."""

from __future__ import annotations

import ctypes
import platform
import warnings

import torch

from t1_vectorstore.errors import BackendError, OutOfMemoryWarning, external_stacklevel

_MESSAGES = ("out of memory", "can't allocate memory", "failed to allocate memory", "could not create a primitive")
"""Messages of libraries without an error type for it: MPS, the CPU allocator, oneDNN. The last one is all that oneDNN
says if it has no memory for a product; that it supports such products was checked when the weights were loaded."""


class TokenBudget:
    """Maximum number of tokens in memory at a time. Running out of memory halves it for good."""

    def __init__(self, tokens: int, device: torch.device) -> None:
        self.tokens = tokens
        self._device = device

    def too_long(self, tokens: int, error: Exception) -> BackendError:
        """Return the error for a single text of ``tokens`` tokens that does not fit."""
        return BackendError(
            f"out of memory on {self._device} with a single text of {tokens} tokens: {error}. "
            "Free some memory, lower max_document_tokens or the thinking budget, or use a smaller dtype."
        )

    def halve(self, cost: int) -> None:
        """Halve the budget after ``cost`` tokens did not fit, and warn.

        Call it when the error and its traceback, which hold tensors, are freed.
        """
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


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory has run out."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(message in str(error) for message in _MESSAGES)
