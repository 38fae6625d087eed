"""One try of a load in a process of its own, which may die of it at a given moment."""

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
GAVE_UP = 75  # EX_TEMPFAIL: the store failed, and the load said so
CALLS = 30
"""Any load of such a corpus calls the engine more often than this."""

_VERBS = ("write", "erase", "read", "page", "defer_indexing", "restore_indexing", "close")
_CONTEXT = multiprocessing.get_context("forkserver")  # processes that have everything imported, and no threads
_CONTEXT.set_forkserver_preload(["tests.faults.attempt"])


@dataclass(frozen=True)
class Death:
    """When to die, as by kill -9.

    Attributes:
        call: of so many calls to the engine, at the beginning of the last.
        delay: so many seconds later, wherever the process is then: in the engine's own code, too.
    """

    call: int
    delay: float


def draw_deaths(random: Random) -> list[Death]:
    """One to three; the first ends any load, the others may come too late to end what is left of it."""
    bounds = [CALLS, 2 * CALLS, 2 * CALLS][: random.randint(1, 3)]
    return [Death(random.randint(1, bound), random.choice([0, random.uniform(0, 0.004)])) for bound in bounds]


@dataclass(frozen=True)
class Attempt:
    """What to load, and where to; ``options`` are those of ``Collection.open``."""

    location: str
    documents: Sequence[Document]
    options: dict[str, Any] = field(default_factory=dict)

    def open(self) -> Collection:
        """The collection, made if need be."""
        return Collection.open(self.location, identity=T1Embedder.fake(DIMENSION).identity, **self.options)

    def run(self) -> None:
        """Bring the collection to exactly these documents, in this process.

        Raises:
            StoreError: the store failed.
        """
        embedder, chunker = T1Embedder.fake(DIMENSION), Chunker(CHUNK)
        with self.open() as collection, collection.bulk():
            report = load(self.documents, embedder, collection, chunker=chunker, batch_chunks=16, prune=True)
        assert not report.failures, report.failures

    def in_a_process(self, death: Death | None = None) -> bool:
        """Whether a process of its own got through; if not, it died as told or gave up on the store."""
        process = _CONTEXT.Process(target=_main, args=(self, death))
        process.start()
        process.join(120)
        if process.exitcode is None:
            process.kill()
            raise AssertionError(f"the load hangs: {self.location}, {death}")
        assert process.exitcode in (0, GAVE_UP, -signal.SIGKILL, -signal.SIGALRM), process.exitcode
        return process.exitcode == 0


def _main(attempt: Attempt, death: Death | None) -> None:
    if death is not None:
        _arrange(death)
    try:
        attempt.run()
    except StoreError as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        os._exit(GAVE_UP)


def _arrange(death: Death) -> None:
    """Count the engines' calls, and let the alarm, whose default is to end the process at once, go off in time."""
    calls, lock = 0, threading.Lock()

    def counted(verb: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            with lock:
                calls += 1
                reached = calls == death.call
            if reached and death.delay == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            elif reached:
                signal.setitimer(signal.ITIMER_REAL, death.delay)
            return verb(*args, **kwargs)

        return call

    for engine in (EmbeddedEngine, ServerEngine):
        for verb in _VERBS:
            setattr(engine, verb, counted(getattr(engine, verb)))
