"""The ``t1`` command with an instant model, which can be made to signal itself when it has written so many batches.

python -m tests.cli.fake_t1 SIGKILL 2 index docs --to idx
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

from t1_vectorstore.backends import loading
from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from t1_vectorstore.collection import Collection
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.embedding.prompts import Prompter
from t1_vectorstore.types import Point

DIMENSION = 16


def use_fake_model(patch: Callable[[Any, str, Any], None]) -> None:
    """Make every model name mean the fake, which needs no libraries; ``patch`` sets an attribute."""
    embedder = T1Embedder.fake(DIMENSION, truncation="allow")  # as the command loads every model
    patch(loading, "check_installed", lambda *_: None)
    patch(T1Embedder, "load", lambda *_, **__: embedder)
    patch(T1Embedder, "from_options", lambda *_, **__: embedder)
    patch(Prompter, "load", lambda *_: embedder._prompter)
    checkpoint = SimpleNamespace(identity=embedder.identity, max_positions=None, check_lengths=lambda _: None)
    patch(Checkpoint, "from_options", lambda *_: checkpoint)


def signal_after(writes: int, name: str) -> None:
    """Send this process a signal right after its so-and-so-many-th write."""
    write, done = Collection.write, 0

    def counted(self: Collection, points: Iterable[Point]) -> int:
        nonlocal done
        stored = write(self, points)
        done += 1
        if done == writes:
            os.kill(os.getpid(), signal.Signals[name])
        return stored

    Collection.write = counted  # type: ignore[method-assign]


if __name__ == "__main__":
    from t1_vectorstore.cli import main

    use_fake_model(setattr)
    signal_after(int(sys.argv[2]), sys.argv[1])
    del sys.argv[1:3]
    main()
