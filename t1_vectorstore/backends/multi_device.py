"""Documents on several devices: the first has its model in this process, each other one in a process of its own.

Thoughts are had on the first device alone. Documents are handed out by turns, so that a faster device gets more of
them; the vectors are those of one device, in the same order.
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

from t1_vectorstore.backends.batching import batches_by_tokens
from t1_vectorstore.checkpoints.spec import Decoding, Refining
from t1_vectorstore.errors import BackendError
from t1_vectorstore.types import Trajectory, Vectors

SHARD_TOKENS = (8192, 262_144)
"""Least and most tokens that a device is given at a time: a few forward passes, and a small part of the whole."""

Ids = Sequence[Sequence[int]]


@dataclass(frozen=True)
class _Lane:
    """A device, and what brings prompts to it, one shard at a time."""

    device: str
    executor: Executor
    encode: Callable[[Ids], Vectors]


class MultiDeviceBackend:
    """A backend over several devices; closing it ends its processes."""

    refines = True
    max_positions: int | None = None

    def __init__(self, load: Callable[..., Any], devices: Sequence[str]) -> None:
        """Load the model on every device at the same time.

        Args:
            load: ``load(device, sharing=)`` gives a backend there, ``sharing`` being how many there are on the CPU; it
                is sent to other processes, so it must be picklable.
            devices: as torch names them; one twice gets two processes.

        Raises:
            BackendError: a process ended before its model was loaded.
        """
        load = partial(load, sharing=sum(device.startswith("cpu") for device in devices))
        self._closed, self._process = False, os.getpid()
        others = [_Lane(device, _one_process(), _encode) for device in devices[1:]]
        self._lanes = others
        try:
            starting = [(lane, _submit(lane, _start, load, lane.device)) for lane in others]
            self._first: Any = load(devices[0])
            for lane, started in starting:
                _result(lane, started)
        except BaseException:
            self.close()
            raise
        self._lanes = [_Lane(devices[0], ThreadPoolExecutor(1), self._first.encode), *others]

    def encode(self, prompts: Ids, *, on_done: Callable[[int], None] | None = None) -> Vectors:
        """The hidden state at each prompt's last token, float32 ``(n, hidden)``, in order.

        Args:
            prompts: token ids, each ending with the emb token.
            on_done: told how many prompts each shard finished.

        Raises:
            BackendError: a device's process has ended, or the pool is closed.
        """
        self._check_open()
        lengths = [len(prompt) for prompt in prompts]
        least, most = SHARD_TOKENS
        size = min(max(sum(lengths) // (4 * len(self._lanes)), least), most)
        shards = iter(batches_by_tokens(lengths, size, padded=False))
        running: dict[Future[Vectors], tuple[_Lane, list[int]]] = {}
        states: list[Any] = [None] * len(prompts)

        def give(lane: _Lane) -> None:
            if (shard := next(shards, None)) is not None:
                running[_submit(lane, lane.encode, [prompts[row] for row in shard])] = lane, shard

        try:
            for lane in self._lanes:
                give(lane)
            while running:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    lane, shard = running.pop(future)
                    for row, state in zip(shard, _result(lane, future), strict=True):
                        states[row] = state
                    if on_done is not None:
                        on_done(len(shard))
                    give(lane)
        finally:
            for future in running:
                future.cancel()
        return np.stack(states)

    def think(self, prompts: Ids, decoding: Decoding, **options: Any) -> list[Trajectory]:  # noqa: ANN401
        """Think on the first device; see :meth:`t1_vectorstore.backends.Backend.think`."""
        self._check_open()
        thoughts: list[Trajectory] = self._first.think(prompts, decoding, **options)
        return thoughts

    def refine(self, prompts: Ids, refining: Refining) -> Vectors:
        """Refine on the first device; see :meth:`t1_vectorstore.backends.Backend.refine`."""
        self._check_open()
        states: Vectors = self._first.refine(prompts, refining)
        return states

    def close(self) -> None:
        """End the processes, once what they are at is done; what is not collected is lost. Twice is once."""
        self._closed = True
        if os.getpid() != self._process:
            return
        for lane in self._lanes:
            lane.executor.shutdown(cancel_futures=True)

    def _check_open(self) -> None:
        if self._closed:
            raise BackendError("this embedder is closed, and its processes have ended; load it again")
        if os.getpid() != self._process:
            raise BackendError("this process was forked from the one whose devices these are; load the embedder here")


def _one_process() -> ProcessPoolExecutor:
    """A fresh process: a forked one could use neither CUDA nor OpenMP. An interrupt is for its parent to handle."""
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, spawn, initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN))


def _submit(lane: _Lane, function: Callable[..., Any], *arguments: object) -> Future[Any]:
    try:
        return lane.executor.submit(function, *arguments)
    except BrokenExecutor as error:
        raise _ended(lane) from error


def _result(lane: _Lane, future: Future[Any]) -> Any:  # noqa: ANN401
    try:
        return future.result()
    except BrokenExecutor as error:
        raise _ended(lane) from error


def _ended(lane: _Lane) -> BackendError:
    return BackendError(
        f"the process for {lane.device} has ended, killed or out of memory; load the embedder again. A script that "
        "uses devices= must do so under `if __name__ == '__main__':`, since each process imports it"
    )


_backend: Any = None
"""The model of such a process."""


def _start(load: Callable[..., Any], device: str) -> None:
    global _backend
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    _backend = load(device)


def _encode(prompts: Ids) -> Vectors:
    states: Vectors = _backend.encode(prompts)
    return states


def _end_with_the_parent() -> None:
    """A parent that was killed could not tell."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
