"""Embed documents on several devices. The first one is used by this process; each other one has its own process.

Queries run on the first device only. Documents are split into shards, and a device that has finished one gets the next,
so faster devices process more. Vectors and their order are those of a single device.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from t1_vectorstore.backends.base import Backend
from t1_vectorstore.backends.batching import batches_by_tokens
from t1_vectorstore.checkpoints.spec import Decoding, Refining
from t1_vectorstore.errors import BackendError
from t1_vectorstore.types import Trajectory, Vectors

SHARD_TOKENS = (8192, 262_144)
"""Minimum and maximum number of tokens in a shard: a few forward passes, and a small part of a large corpus."""

Prompts = Sequence[Sequence[int]]


@dataclass(frozen=True)
class _Worker:
    """A device, and the executor that runs its model."""

    device: str
    executor: Executor
    encode: Callable[[Prompts], Vectors]

    def submit(self, function: Callable[..., Any], *arguments: object) -> Future[Any]:
        try:
            return self.executor.submit(function, *arguments)
        except BrokenExecutor as error:
            raise self._ended() from error

    def result(self, future: Future[Any]) -> Any:  # noqa: ANN401
        try:
            return future.result()
        except BrokenExecutor as error:
            raise self._ended() from error

    def _ended(self) -> BackendError:
        return BackendError(
            f"the process for {self.device} has ended, killed or out of memory; load the embedder again. A script that "
            "uses devices= must do so under `if __name__ == '__main__':`, since each process imports it"
        )


class MultiDeviceBackend:
    """A backend over several devices. Closing it ends its processes."""

    refines = True
    max_positions: int | None = None

    def __init__(self, load: Callable[..., Backend], devices: Sequence[str]) -> None:
        """Load the model on all devices at the same time.

        Args:
            load: Function that loads a backend, called as ``load(device, sharing=...)`` with the number of backends on
                the CPU. It is sent to other processes, so it must be picklable.
            devices: Device names as in torch. One that is repeated gets several processes.

        Raises:
            BackendError: A process ended before its model was loaded.
        """
        load = partial(load, sharing=sum(device.startswith("cpu") for device in devices))
        self._closed, self._process = False, os.getpid()
        others = [_Worker(device, _new_process(), _encode) for device in devices[1:]]
        self._workers = others
        try:
            loading = [(worker, worker.submit(_load, load, worker.device)) for worker in others]
            self._first: Backend = load(devices[0])
            for worker, future in loading:
                worker.result(future)
        except BaseException:
            self.close()
            raise
        self._workers = [_Worker(devices[0], ThreadPoolExecutor(1), self._first.encode), *others]

    def encode(self, prompts: Prompts, *, on_done: Callable[[int], None] | None = None) -> Vectors:
        """See ``Backend.encode``; ``on_done`` is called after each shard.

        Raises:
            BackendError: A device's process has ended, or the backend is closed.
        """
        self._check_open()
        # 1. Shards: about four for each device, so that a fast one can take more of them.
        lengths = [len(prompt) for prompt in prompts]
        smallest, largest = SHARD_TOKENS
        size = min(max(sum(lengths) // (4 * len(self._workers)), smallest), largest)
        shards = iter(batches_by_tokens(lengths, size, padded=False))
        running: dict[Future[Vectors], tuple[_Worker, list[int]]] = {}
        states: list[Any] = [None] * len(prompts)

        def submit_next(worker: _Worker) -> None:
            if (shard := next(shards, None)) is not None:
                running[worker.submit(worker.encode, [prompts[index] for index in shard])] = worker, shard

        # 2. Each device starts with one shard, and gets the next one when it has finished.
        try:
            for worker in self._workers:
                submit_next(worker)
            while running:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    worker, shard = running.pop(future)
                    for index, state in zip(shard, worker.result(future), strict=True):
                        states[index] = state
                    if on_done is not None:
                        on_done(len(shard))
                    submit_next(worker)
        # 3. After an error no further shard begins.
        finally:
            for future in running:
                future.cancel()
        return np.stack(states)

    def think(self, prompts: Prompts, decoding: Decoding, **options: Any) -> list[Trajectory]:  # noqa: ANN401
        """Think on the first device; see ``Backend.think``."""
        self._check_open()
        return self._first.think(prompts, decoding, **options)

    def refine(self, prompts: Prompts, refining: Refining) -> Vectors:
        """Refine on the first device; see ``Backend.refine``."""
        self._check_open()
        return self._first.refine(prompts, refining)

    def close(self) -> None:
        """Let the processes finish their current shard, then end them. It can be called twice."""
        self._closed = True
        if os.getpid() != self._process:
            return
        for worker in self._workers:
            worker.executor.shutdown(cancel_futures=True)

    def _check_open(self) -> None:
        if self._closed:
            raise BackendError("this embedder is closed, and its processes have ended; load it again")
        if os.getpid() != self._process:
            raise BackendError("this process was forked from the one that loaded the embedder; load it here as well")


def _new_process() -> ProcessPoolExecutor:
    """Spawn a process, as a forked one could use neither CUDA nor OpenMP. It leaves interrupts to its parent."""
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, spawn, initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN))


_backend: Backend
"""The backend of a worker process."""


def _load(load: Callable[..., Backend], device: str) -> None:
    global _backend
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    _backend = load(device)


def _encode(prompts: Prompts) -> Vectors:
    return _backend.encode(prompts)


def _exit_with_parent() -> None:
    """End this process when its parent has ended, as a killed parent cannot do it."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
