"""The interface between the local backend and a loaded model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch

from t1_vectorstore.backends.batching import Layout
from t1_vectorstore.backends.decoding import Sampler, ThoughtState


class LocalModel(Protocol):
    """A loaded model. Its methods are called by one thread at a time, without gradients."""

    padded: bool
    """Whether a batch of documents is a rectangle, in which a short text costs as much as the longest one."""
    joins: bool
    """Whether thoughts can join a running batch, which holds a prefix that they share once. Otherwise thoughts wait
    until the batch is complete."""
    vocabulary: int
    """Number of token embeddings."""
    logits: Callable[[torch.Tensor], torch.Tensor]
    """Computes logits ``(n, vocabulary)`` from final states ``(n, hidden)``."""

    def encode(self, sequences: Sequence[Sequence[int]]) -> torch.Tensor:
        """Return the pooled state at the last token of each sequence, ``(sequences, hidden)``."""
        ...

    def start_batch(self, sampler: Sampler) -> RunningBatch:
        """Return an empty batch of thoughts, whose tokens are chosen by ``sampler``."""
        ...


class RunningBatch(Protocol):
    """Thoughts that are generated together. After an error it cannot be used any more."""

    @property
    def thoughts(self) -> Sequence[ThoughtState]:
        """The incomplete thoughts in the batch."""
        ...

    def admit(self, thoughts: Sequence[ThoughtState], layout: Layout) -> None:
        """Read thoughts, and choose the next token of each.

        Args:
            thoughts: Thoughts for which the layout has free slots. They may have tokens already.
            layout: The cache's shape from now on.
        """
        ...

    def step(self) -> None:
        """Feed each thought its next token or state. Complete thoughts leave the batch."""
        ...

    def remove(self, unwanted: Sequence[ThoughtState]) -> None:
        """Free the slots of thoughts that nobody waits for."""
        ...
