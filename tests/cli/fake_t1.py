"""The ``t1`` command with an instant model, in a process that sends itself a signal after a number of writes.

python -m tests.cli.fake_t1 SIGKILL 2 index docs --to idx
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from t1_vectorstore.backends import loading
from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from t1_vectorstore.collection import Collection
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.embedding.prompts import Prompter
from t1_vectorstore.types import Point

DIMENSION = 16
ROOT = Path(__file__).parents[2]


def use_fake_model(patch: Callable[[Any, str, Any], None]) -> None:
    """Load the fake model, which needs no libraries, under every name; ``patch`` sets an attribute."""
    embedder = T1Embedder.fake(DIMENSION, truncation="allow")  # the policy of the command for every model
    patch(loading, "check_installed", lambda *_: None)
    patch(T1Embedder, "from_options", lambda *_: embedder)
    patch(Prompter, "load", lambda *_: embedder._prompter)
    checkpoint = SimpleNamespace(identity=embedder.identity, max_positions=None, spec=embedder.spec)
    patch(Checkpoint, "from_options", lambda *_: checkpoint)


def signal_after(writes: int, name: str) -> None:
    """Make this process send itself a signal directly after a number of writes, by a load or by reindexing."""
    done = 0

    def signalling(write: Callable[[Collection, Iterable[Point]], int]) -> Callable[[Collection, Iterable[Point]], int]:
        def write_and_signal(self: Collection, points: Iterable[Point]) -> int:
            nonlocal done
            stored = write(self, points)
            done += 1
            if done == writes:
                os.kill(os.getpid(), signal.Signals[name])
            return stored

        return write_and_signal

    for method in ("write", "upsert"):
        setattr(Collection, method, signalling(getattr(Collection, method)))


def run_process(name: str, writes: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``t1`` in a process of its own, which gets the signal after the number of writes."""
    command = [sys.executable, "-m", "tests.cli.fake_t1", name, str(writes), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


if __name__ == "__main__":
    from t1_vectorstore.cli import main

    use_fake_model(setattr)
    signal_after(int(sys.argv[2]), sys.argv[1])
    del sys.argv[1:3]
    main()
