"""A model that gives no finite vector for marked texts, as large models in float16 do for a few."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from t1_vectorstore.backends.fake import SPEC, FakeBackend, byte_tokenizer, identity
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.embedding.prompts import Prompter
from t1_vectorstore.types import Vectors

MARK = "\x07"
"""A text with this character has no usable vector."""


class OverflowingBackend(FakeBackend):
    """States of texts with the mark are NaN; with ``every``, all are."""

    def __init__(self, dimension: int, mark: int, *, every: bool) -> None:
        super().__init__(dimension)
        self._mark, self._every = mark, every

    def encode(self, prompts: Sequence[Sequence[int]], *, on_done: Callable[[int], None] | None = None) -> Vectors:
        states = super().encode(prompts, on_done=on_done)
        for row, prompt in enumerate(prompts):
            if self._every or self._mark in prompt:
                states[row] = np.nan
        return states


def overflowing_embedder(dimension: int = 16, *, every: bool = False) -> T1Embedder:
    prompter = Prompter(byte_tokenizer(), SPEC)
    [mark] = prompter.encode([MARK])[0].ids
    return T1Embedder(prompter, OverflowingBackend(dimension, mark, every=every), identity(dimension))
