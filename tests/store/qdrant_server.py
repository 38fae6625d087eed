"""A real Qdrant server for as long as a block lasts."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NOBODY = "nobody"
_START_SECONDS = 60.0


@contextmanager
def running_server(binary: Path) -> Iterator[str]:
    """Start the binary on free ports of 127.0.0.1, as nobody when we are root, and give its URL."""
    folder = Path(tempfile.mkdtemp(prefix="t1-qdrant-"))
    try:
        program = folder / "qdrant"
        shutil.copy(binary, program)  # the cache may lie where nobody cannot read
        user = _NOBODY if os.geteuid() == 0 else None
        if user:
            shutil.chown(folder, user)
        folder.chmod(0o755)
        port = _two_free_ports()
        log = folder / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [program, "--disable-telemetry"],
                cwd=folder,
                env=_settings(folder, port),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                user=user,
            )
        try:
            _wait(process, port, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _settings(folder: Path, port: int) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", ""),
        "QDRANT__LOG_LEVEL": "WARN",
        "QDRANT__SERVICE__HOST": "127.0.0.1",
        "QDRANT__SERVICE__HTTP_PORT": str(port),
        "QDRANT__SERVICE__GRPC_PORT": str(port + 1),
        "QDRANT__STORAGE__STORAGE_PATH": str(folder / "storage"),
        "QDRANT__STORAGE__SNAPSHOTS_PATH": str(folder / "snapshots"),
        "QDRANT__TELEMETRY_DISABLED": "true",
    }


def _two_free_ports() -> int:
    """The first of two neighbouring ports, REST and gRPC."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"Qdrant ended with {process.returncode}: {log.read_text('utf-8', 'replace')[-2000:]}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise RuntimeError(f"Qdrant did not start within {_START_SECONDS} s: {log.read_text('utf-8', 'replace')[-2000:]}")
