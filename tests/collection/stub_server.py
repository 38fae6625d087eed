"""A loopback server with prepared answers, to test the reactions of a client."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from t1_vectorstore.collection import Collection
from t1_vectorstore.options import Retry
from tests.collection.points import MODEL

VERSION = {"title": "qdrant - vector search engine", "version": "1.16.3", "commit": "0"}


@dataclass
class Stub:
    """The prepared answers, in order, and the requests so far."""

    url: str
    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    api_keys: list[str | None] = field(default_factory=list)

    def answer(self, status: int, body: Any = None, **headers: str) -> None:
        """Queue an answer; the last one is repeated."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.answers.append((status, {name.replace("_", "-"): value for name, value in headers.items()}, content))

    def result(self, result: Any) -> None:
        """Queue a result in Qdrant's form."""
        self.answer(200, {"result": result, "status": "ok", "time": 0.0})

    def error(self, status: int, words: str = "told to", **headers: str) -> None:
        """Queue an error in Qdrant's form."""
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
            if status == 0:  # close the connection without an answer
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
            with suppress(OSError, ValueError):  # connections closed without an answer
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


def described(**changes: Any) -> dict[str, Any]:
    """Return a collection's description in Qdrant's form."""
    schema = {
        "format": 1,
        "name": "t1",
        "model": MODEL.model,
        "fingerprint": MODEL.fingerprint,
        "dimension": MODEL.dimension,
        "content_key": "page_content",
        "metadata_key": "metadata",
        "distance": "cosine",
        "uid": "f" * 32,
    }
    vectors = {"size": MODEL.dimension, "distance": "Cosine"}
    given = {"vectors": vectors, "metadata": {"t1": schema}, **changes}
    params = {"vectors": given["vectors"], "shard_number": 1, "replication_factor": 1, "on_disk_payload": True}
    return {
        "status": "green",
        "optimizer_status": "ok",
        "segments_count": 2,
        "points_count": 0,
        "config": {
            "params": params,
            "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10000},
            "optimizer_config": {
                "deleted_threshold": 0.2,
                "vacuum_min_vector_number": 1000,
                "default_segment_number": 0,
                "flush_interval_sec": 5,
            },
            "metadata": given["metadata"],
        },
        "payload_schema": {},
    }


def opened(stub: Stub, retry: Retry, **options: Any) -> Collection:
    """Open a collection on the stub, and clear the list of requests."""
    stub.result(described())
    collection = Collection.open(stub.url, **{"identity": MODEL, "retry": retry, "grpc_port": 1, **options})
    stub.answers.clear()
    stub.asked.clear()
    return collection
