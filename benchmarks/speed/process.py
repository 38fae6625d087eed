"""Run a contender in its own process, and send it commands over a pipe.

Contenders take turns in each round, but do not share threads, allocators and settings. The process runs
``python -m benchmarks.speed.process``.
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
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine runs in the contender's process, whose CPU time is read
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "TORCHINDUCTOR_COMPILE_THREADS": "1",  # models are compiled while other contenders load as well
    "TOKENIZERS_PARALLELISM": "false",
}

TIMEOUT = 600
"""Maximum number of seconds for loading a model, or for a round."""


class Unavailable(Exception):
    """A contender cannot run here; the message says why."""


class Process:
    """A contender's process."""

    def __init__(self, kind: str, workload: Path, *, dtype: str, threads: int, device: str = "cpu") -> None:
        """Start a contender. ``ready`` waits until its model is loaded, so several can load at the same time.

        Args:
            kind: A key of ``contenders.CONTENDERS``.
            workload: File with the workload.
            dtype: Number type to compute in.
            threads: Number of CPU threads.
            device: Device to compute on.
        """
        self._arrays = workload.with_name(f"{kind}-{dtype}.npz")
        command = [sys.executable, "-m", "benchmarks.speed.process", kind, str(workload), dtype, device]
        environment = os.environ | SETTINGS | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        self._process = subprocess.Popen(
            [*command, str(self._arrays)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
        )

    def ready(self) -> dict[str, Any]:
        """Wait until the model is loaded, and return the contender's version.

        Raises:
            Unavailable: It cannot run here.
        """
        return self._answer()

    def ask(self, what: str, **arguments: object) -> dict[str, Any]:
        """Call one of its methods; return the answer, and the seconds (``cpu`` and ``wall``) that it took.

        Raises:
            Unavailable: It failed, and has ended.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"what": what, "arguments": arguments}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def arrays(self) -> dict[str, Any]:
        """Return the arrays of the last answer."""
        with np.load(self._arrays) as arrays:
            return dict(arrays)

    def close(self) -> None:
        """End the process."""
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
        limit = threading.Timer(TIMEOUT, self._process.kill)
        limit.start()
        line = self._process.stdout.readline()
        limit.cancel()
        ended = f"its process ended, or took longer than {TIMEOUT} seconds"
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
    os.dup2(2, 1)  # so that whatever a library prints is not taken for an answer
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
            # If the answer has seconds of its own, because it measured only a part, they replace these.
            replies.write(json.dumps(spent | {k: v for k, v in answer.items() if k not in arrays}) + "\n")
    except Exception as error:  # noqa: BLE001 - the other contenders continue without this one
        replies.write(json.dumps({"error": f"{type(error).__name__}: {error}".splitlines()[0][:300]}) + "\n")


if __name__ == "__main__":
    _serve()
