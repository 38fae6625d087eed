"""Two stock vLLM servers on this machine, started as in docs/vllm.md."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx

GENERATE = ("--runner", "generate")
EMBED = ("--runner", "pooling", "--convert", "embed", "--pooler-config", '{"pooling_type": "LAST"}')
STARTUP_TIMEOUT = 400.0
"""Seconds for a server to start. On two busy cores it took up to 90."""


@contextmanager
def running_servers(folder: Path, logs: Path) -> Iterator[tuple[str, str]]:
    """Start a generating and a pooling server, and return their base URLs."""
    with ExitStack() as stack:
        kinds = {"generate.log": GENERATE, "embed.log": EMBED}
        started = [stack.enter_context(_server(folder, logs / name, flags)) for name, flags in kinds.items()]
        for url, process, log in started:
            _wait(url, process, log)
        yield started[0][0], started[1][0]


@contextmanager
def _server(folder: Path, log: Path, flags: tuple[str, ...]) -> Iterator[tuple[str, subprocess.Popen[bytes], Path]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder), *flags]
    command += ["--host", "127.0.0.1", "--port", str(port), "--api-key", "secret", "--served-model-name", "t1"]
    command += ["--dtype", "float32", "--enforce-eager", "--block-size", "32", "--max-num-seqs", "16"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ})
    try:
        yield f"http://127.0.0.1:{port}", process, log
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + STARTUP_TIMEOUT
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"a server ended with {process.returncode}: {log.read_text()[-3000:]}")
        try:
            if httpx.get(f"{url}/health", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise RuntimeError(f"a server did not start in {STARTUP_TIMEOUT:.0f} s: {log.read_text()[-3000:]}")
