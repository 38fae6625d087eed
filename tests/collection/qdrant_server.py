"""A real Qdrant server for the length of a block; one that runs from the binary can be killed and restarted."""

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


class LocalServer:
    """The binary on free ports of 127.0.0.1 and in its own folder; root runs it as the user nobody."""

    def __init__(self, binary: Path, folder: Path, **settings: str) -> None:
        """Prepare a folder that ``nobody`` may read; ``settings`` are environment variables."""
        self._settings = settings
        self._program = folder / "qdrant"
        shutil.copy(binary, self._program)  # the user nobody may be unable to read the cache
        self._user = _NOBODY if os.geteuid() == 0 else None
        if self._user:
            shutil.chown(folder, self._user)
        folder.chmod(0o755)
        self._log = folder / "log"
        self.port = two_free_ports()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it with the files that it has, and wait until it answers."""
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [self._program, "--disable-telemetry"],
                cwd=self._log.parent,
                env=_environment(self._log.parent, self.port) | self._settings,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                user=self._user,
            )
        self._wait(self._process)

    def kill(self) -> None:
        """Kill the process, as a power failure would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def restart(self) -> None:
        """Kill it, and start it again with the files that it has left."""
        self.kill()
        self.start()

    def stop(self) -> None:
        """Shut it down."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise RuntimeError(f"Qdrant ended with {process.returncode}: {self._last_words()}")
            try:
                with urllib.request.urlopen(f"{self.url}/readyz", timeout=1):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        raise RuntimeError(f"Qdrant did not start within {_START_SECONDS} s: {self._last_words()}")

    def _last_words(self) -> str:
        return self._log.read_text("utf-8", "replace")[-2000:]


@contextmanager
def running_server(binary: Path, **settings: str) -> Iterator[LocalServer]:
    """Start the binary, and delete its files at the end."""
    folder = Path(tempfile.mkdtemp(prefix="t1-qdrant-"))
    try:
        server = LocalServer(binary, folder, **settings)
        try:
            server.start()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def two_free_ports() -> int:
    """Return the first of two free neighbouring ports of 127.0.0.1, for REST and gRPC."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port


def _environment(folder: Path, port: int) -> dict[str, str]:
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
