"""A load in a process of its own, which can be killed at a given moment."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from t1_vectorstore.collection import Collection
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.engines.embedded.engine import EmbeddedEngine
from t1_vectorstore.engines.server.engine import ServerEngine
from t1_vectorstore.errors import StoreError
from t1_vectorstore.indexing import load
from t1_vectorstore.indexing.chunking import Chunker
from t1_vectorstore.types import Document
from tests.faults.corpus import CHUNK

DIMENSION = 16
STORE_FAILED = 75  # EX_TEMPFAIL: the load ended with a StoreError
CALLS = 30
"""Every load of such a corpus makes more calls to the engine than this."""

_VERBS = ("write", "erase", "read", "page", "defer_indexing", "restore_indexing", "close")
_CONTEXT = multiprocessing.get_context("forkserver")  # its processes have everything imported, and no threads
_CONTEXT.set_forkserver_preload(["tests.faults.attempt"])


@dataclass(frozen=True)
class Kill:
    """When the process kills itself, as kill -9 would.

    Attributes:
        call: Number of the call to the engine at whose beginning the process dies.
        delay: Seconds by which it dies later, also within the engine's own code.
    """

    call: int
    delay: float


def draw_kills(random: Random) -> list[Kill]:
    """Draw one to three kills. The first one ends any load; the rest of the load may end before the others."""
    bounds = [CALLS, 2 * CALLS, 2 * CALLS][: random.randint(1, 3)]
    return [Kill(random.randint(1, bound), random.choice([0, random.uniform(0, 0.004)])) for bound in bounds]


@dataclass(frozen=True)
class Attempt:
    """What is loaded and where; ``options`` are those of ``Collection.open``."""

    location: str
    documents: Sequence[Document]
    options: dict[str, Any] = field(default_factory=dict)

    def open(self) -> Collection:
        """Open the collection, and create it if it does not exist."""
        return Collection.open(self.location, identity=T1Embedder.fake(DIMENSION).identity, **self.options)

    def run(self) -> None:
        """Load exactly these documents into the collection, in this process.

        Raises:
            StoreError: The store failed.
        """
        embedder, chunker = T1Embedder.fake(DIMENSION), Chunker(CHUNK)
        with self.open() as collection, collection.bulk():
            report = load(self.documents, embedder, collection, chunker=chunker, batch_chunks=16, prune=True)
        assert not report.failures, report.failures

    def in_a_process(self, kill: Kill | None = None) -> bool:
        """Return whether a process of its own completed the load; if not, it was killed or the store failed."""
        process = _CONTEXT.Process(target=_main, args=(self, kill))
        process.start()
        process.join(120)
        if process.exitcode is None:
            process.kill()
            raise AssertionError(f"the load hangs: {self.location}, {kill}")
        assert process.exitcode in (0, STORE_FAILED, -signal.SIGKILL, -signal.SIGALRM), process.exitcode
        return process.exitcode == 0


def _main(attempt: Attempt, kill: Kill | None) -> None:
    if kill is not None:
        _schedule_kill(kill)
    try:
        attempt.run()
    except StoreError as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        os._exit(STORE_FAILED)


def _schedule_kill(kill: Kill) -> None:
    """Count the calls to the engine, and kill the process in time, by a signal or by an alarm without a handler."""
    calls, lock = 0, threading.Lock()

    def counted(verb: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            with lock:
                calls += 1
                reached = calls == kill.call
            if reached and kill.delay == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            elif reached:
                signal.setitimer(signal.ITIMER_REAL, kill.delay)
            return verb(*args, **kwargs)

        return call

    for engine in (EmbeddedEngine, ServerEngine):
        for verb in _VERBS:
            setattr(engine, verb, counted(getattr(engine, verb)))
