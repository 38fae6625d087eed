"""An embedder that takes its time, and tells what it does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from t1_vectorstore import T1Embedder
from t1_vectorstore.backends.fake import SPEC, FakeBackend, byte_tokenizer, identity
from t1_vectorstore.checkpoints.spec import Decoding
from t1_vectorstore.embedding.prompts import Prompter
from t1_vectorstore.types import OnTokens, Trajectory, Vectors

QUERY = "a query whose thought is as long as itself: over a second"


class SlowBackend(FakeBackend):
    """A fake backend that takes a while for each token of a thought, and can be made to wait before it encodes.

    Attributes:
        generated: Number of tokens of thoughts so far.
        may_encode: Cleared to hold documents back.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(16)
        self.seconds = seconds
        self.generated = 0
        self.may_encode = threading.Event()
        self.may_encode.set()

    def think(
        self, prompts: Sequence[Sequence[int]], decoding: Decoding, *, on_tokens: OnTokens | None = None, **given: Any
    ) -> list[Trajectory]:
        def slowly(index: int, new: Sequence[int]) -> None:
            time.sleep(self.seconds)
            self.generated += 1
            if on_tokens is not None:
                on_tokens(index, new)

        return super().think(prompts, decoding, on_tokens=slowly, **given)

    def encode(self, prompts: Sequence[Sequence[int]], *, on_done: Callable[[int], None] | None = None) -> Vectors:
        assert self.may_encode.wait(30)
        return super().encode(prompts, on_done=on_done)


def slow_embedder(seconds: float = 0.02) -> tuple[T1Embedder, SlowBackend]:
    """Return an embedder with a slow backend."""
    backend = SlowBackend(seconds)
    return T1Embedder(Prompter(byte_tokenizer(), SPEC), backend, identity(16), truncation="allow"), backend


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)
