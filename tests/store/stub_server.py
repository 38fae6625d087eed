"""A loopback server that answers as it is told, to see what a client does about it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

VERSION = {"title": "qdrant - vector search engine", "version": "1.16.3", "commit": "0"}


@dataclass
class Stub:
    """Answers in turn, and what was asked."""

    url: str
    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    api_keys: list[str | None] = field(default_factory=list)

    def answer(self, status: int, body: Any = None, **headers: str) -> None:
        """Queue an answer; the last one queued is repeated for ever."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.answers.append((status, {name.replace("_", "-"): value for name, value in headers.items()}, content))

    def result(self, result: Any) -> None:
        """Queue an answer as Qdrant gives it when all is well."""
        self.answer(200, {"result": result, "status": "ok", "time": 0.0})

    def error(self, status: int, words: str = "told to", **headers: str) -> None:
        """Queue an answer as Qdrant gives it when it is not."""
        self.answer(status, {"status": {"error": words}, "time": 0.0}, **headers)


@contextmanager
def stub_server() -> Iterator[Stub]:
    """A stub on a free port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _reply(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            stub.asked.append(f"{self.command} {self.path}")
            stub.api_keys.append(self.headers.get("api-key"))
            status, headers, content = stub.answers.pop(0) if len(stub.answers) > 1 else stub.answers[0]
            if status == 0:  # hang up
                self.close_connection = True
                self.connection.close()
                return
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _reply

        def log_message(self, *words: Any) -> None:
            pass

        def handle(self) -> None:
            with suppress(OSError, ValueError):  # of the connections that were hung up
                super().handle()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stub = Stub(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
