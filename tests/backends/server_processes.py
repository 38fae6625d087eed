"""Inference servers that are started for tests, on this machine alone."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx


@dataclass
class ServerProcess:
    """A server that is starting, or running.

    Attributes:
        url: Its base URL.
        process: Its process.
        log: File with what it prints.
    """

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def wait(self, timeout: float) -> None:
        """Wait until the server is ready, but at most ``timeout`` seconds."""
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise RuntimeError(f"a server ended with {self.process.returncode}: {self.log.read_text()[-3000:]}")
            try:
                if httpx.get(f"{self.url}/health", timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise RuntimeError(f"a server did not start in {timeout:.0f} s: {self.log.read_text()[-3000:]}")

    def stop(self) -> None:
        """End the server."""
        self.process.terminate()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextmanager
def starting(
    command: Sequence[str | Path], log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[ServerProcess]:
    """Start a server with further flags for a free port and the API key ``secret``; ``wait`` until it is ready."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = ["--host", "127.0.0.1", "--port", str(port), "--api-key", "secret"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, *flags], stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **(environment or {})}
        )
    server = ServerProcess(f"http://127.0.0.1:{port}", process, log)
    try:
        yield server
    finally:
        server.stop()
