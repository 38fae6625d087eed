"""Services for a browser: ``t1 serve`` in a process of its own, and a scripted one for what a real one rarely does."""

from __future__ import annotations

import functools
import http.server
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PLAYGROUND = ROOT / "t1_vectorstore" / "server" / "playground"
T1 = [sys.executable, "-c", "from t1_vectorstore.cli import main; main()"]


def t1(*arguments: object, cwd: Path) -> str:
    """Run a command of ``t1``, and return what it prints."""
    done = subprocess.run(
        [*T1, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, env=_environment(), timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Service:
    """A running ``t1 serve``.

    Attributes:
        url: Its address, ending with a slash.
        process: Its process.
    """

    def __init__(self, *arguments: object, cwd: Path) -> None:
        self.process = subprocess.Popen(
            [*T1, "serve", "--no-cache", "--port", "0", *map(str, arguments)],
            cwd=cwd,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=_environment(),
        )
        assert self.process.stderr is not None
        printed = []
        for line in self.process.stderr:
            printed.append(line)
            if found := re.search(r"serving .* at (http://\S+)", line):
                self.url = found[1] + "/"
                break
        else:
            raise AssertionError("".join(printed))
        self._log = threading.Thread(target=self.process.stderr.read)  # so that a full pipe never blocks it
        self._log.start()

    @property
    def port(self) -> int:
        return int(self.url.rstrip("/").rpartition(":")[2])

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)
        self._log.join()
        assert self.process.stderr is not None
        self.process.stderr.close()


@contextmanager
def serving(*arguments: object, cwd: Path) -> Iterator[Service]:
    """Run ``t1 serve`` for the length of a ``with`` block."""
    service = Service(*arguments, cwd=cwd)
    try:
        yield service
    finally:
        service.stop()


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", "NO_COLOR": "1"}


INDEX = {
    "name": "scripted",
    "points": 2,
    "model": "t1-mini",
    "fingerprint": "f",
    "dimension": 4,
    "hybrid": True,
    "fields": {"year": "integer"},
    "thinks": True,
    "writable": True,
}
HIT = {
    "id": "a",
    "score": 0.5,
    "text": "One text.",
    "metadata": {},
    "document_id": "a",
    "start": 0,
    "end": 9,
    "explanation": None,
}
RESULT: dict[str, Any] = {
    "query": "anything",
    "hits": [HIT],
    "thoughts": [],
    "timings": {"embed": 0.01, "search": 0.001, "total": 0.011},
    "truncated": None,
    "decision": None,
    "cached": False,
    "index": "scripted",
}


class ScriptedService:
    """Serves the playground's files, and answers its calls as a test says.

    Attributes:
        url: Its address, ending with a slash.
        index: What ``/v1/indexes`` says.
        results: Answers of ``/v1/search`` and results of streams: a status and a body.
        thought: Pieces of a stream's thought. ``None`` sends pieces until the browser closes the connection.
        headers: Additional headers of errors.
        cut: Whether a stream ends without a result.
        left: Set when the browser has closed a stream.
        requests: Paths and bodies of the calls.
    """

    def __init__(self) -> None:
        self.index: dict[str, Any] = dict(INDEX)
        self.result: tuple[int, Any] = (200, RESULT)
        self.thought: list[str] | None = ["one ", "thought"]
        self.headers: dict[str, str] = {}
        self.cut = False
        self.left = threading.Event()
        self.requests: list[tuple[str, Any]] = []
        self._server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(_Handler, self, directory=str(PLAYGROUND))
        )
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.0"  # a body ends when the connection does

    def __init__(self, service: ScriptedService, *arguments: Any, **options: Any) -> None:
        self._service = service
        super().__init__(*arguments, **options)

    def log_message(self, *_: Any) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        if self.path == "/v1/indexes":
            self._answer(200, {"data": [self._service.index]})
        else:
            super().do_GET()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._service.requests.append((self.path, body))
        status, result = self._service.result
        if self.path == "/v1/documents/list":
            self._answer(200, {"data": [], "next": None})
        elif self.path == "/v1/search" and body["think"] is False:
            self._answer(200, RESULT)
        elif status != 200 or self.path == "/v1/search":
            self._answer(status, result)
        else:
            self._stream(result)

    def _answer(self, status: int, body: Any) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        for name, value in self._service.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def _stream(self, result: Any) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        try:
            for piece in iter(lambda: "again ", None) if self._service.thought is None else self._service.thought:
                # Two writes for each event: its parts reach the browser at different times.
                self.wfile.write(b": still here\r\n\r\nevent: thought\r\n")
                self.wfile.write(f"data: {json.dumps({'text': piece})}\r\n\r\n".encode())
                if self._service.thought is None and self._service.left.wait(0.02):
                    break
            if not self._service.cut:
                self.wfile.write(f"event: result\ndata: {json.dumps(result)}\n\n".encode())
        except OSError:
            self._service.left.set()
