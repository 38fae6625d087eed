"""A contender in a process of its own, told over a pipe what to do.

So one's threads, allocator and settings are not the other's, while the rounds alternate between them.
``python -m benchmarks.speed.process`` is the far end.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

SETTINGS = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # its engine in the contender's own process, whose CPU time is read
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "TORCHINDUCTOR_COMPILE_THREADS": "1",  # compiled when it starts, beside the other contenders
    "TOKENIZERS_PARALLELISM": "false",
}

LONGEST = 600
"""Seconds that loading a model, or one round, may take."""


class Unavailable(Exception):
    """A contender that cannot run here; the message says why."""


class Process:
    """The near end."""

    def __init__(self, kind: str, workload: Path, *, dtype: str, threads: int, device: str = "cpu") -> None:
        """Start a contender; :meth:`ready` waits until its model is loaded, so that several can load at a time.

        Args:
            kind: a name in ``contenders.CONTENDERS``.
            workload: the file that describes the work.
            dtype: that it computes in.
            threads: that it may use on a CPU.
            device: where it computes.
        """
        self._arrays = workload.with_name(f"{kind}-{dtype}.npz")
        command = [sys.executable, "-m", "benchmarks.speed.process", kind, str(workload), dtype, device]
        environment = os.environ | SETTINGS | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        self._process = subprocess.Popen(
            [*command, str(self._arrays)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
        )

    def ready(self) -> dict[str, Any]:
        """What it says of itself once it can work.

        Raises:
            Unavailable: it cannot run here.
        """
        return self._answer()

    def ask(self, what: str, **arguments: object) -> dict[str, Any]:
        """Have it do one thing: what it says of it, and the seconds (``cpu`` and ``wall``) that it took.

        Raises:
            Unavailable: it failed, and has ended.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"what": what, "arguments": arguments}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def arrays(self) -> dict[str, Any]:
        """What it computed when last asked."""
        with np.load(self._arrays) as arrays:
            return dict(arrays)

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        limit = threading.Timer(LONGEST, self._process.kill)
        limit.start()
        line = self._process.stdout.readline()
        limit.cancel()
        ended = f"its process ended, or took longer than {LONGEST} seconds"
        answer: dict[str, Any] = json.loads(line) if line else {"error": ended}
        if "error" in answer:
            self.close()
            raise Unavailable(answer["error"])
        return answer


def _serve() -> None:
    parser = argparse.ArgumentParser()
    for name in ("kind", "workload", "dtype", "device", "arrays"):
        parser.add_argument(name)
    given = parser.parse_args()
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints is no answer
    try:
        from benchmarks.speed.contenders import CONTENDERS
        from benchmarks.speed.workload import Workload

        contender = CONTENDERS[given.kind](Workload.read(Path(given.workload)), given.dtype, given.device)
        replies.write(json.dumps({"version": contender.version}) + "\n")
        for line in sys.stdin:
            order = json.loads(line)
            cpu, wall = time.process_time(), time.perf_counter()
            answer = getattr(contender, order["what"])(**order["arguments"])
            spent = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
            arrays = {name: value for name, value in answer.items() if isinstance(value, np.ndarray)}
            np.savez(given.arrays, **arrays)
            # An answer's own seconds, where it measured a part of what it did, stand above these.
            replies.write(json.dumps(spent | {k: v for k, v in answer.items() if k not in arrays}) + "\n")
    except Exception as error:  # noqa: BLE001 - whatever is wrong, the other contenders go on without this one
        replies.write(json.dumps({"error": f"{type(error).__name__}: {error}".splitlines()[0][:300]}) + "\n")


if __name__ == "__main__":
    _serve()
