"""A local server that answers like two vLLM servers, with a small real model or with errors."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from t1_vectorstore import T1Embedder
from t1_vectorstore.checkpoints.spec import Decoding


@dataclass
class Stub:
    """The requests so far, and the answers that are to be wrong."""

    embedder: T1Embedder
    url: str = ""
    models: dict[str, int] = field(default_factory=lambda: {"t1": 2048})
    requests: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    keys: set[str | None] = field(default_factory=set)
    failures: list[tuple[int, bytes]] = field(default_factory=list)
    """Status and content of the next answers. Status 0 closes the connection."""
    token_delay: float = 0.0
    stop_stream: bool = False
    text: str = "<emb_token>"
    dimension: int | None = None

    def completion(self, fields: dict[str, Any]) -> list[list[int]]:
        if fields.get("echo"):
            return [[]]
        decoding = Decoding(
            max_tokens=fields["max_tokens"],
            temperature=fields["temperature"],
            top_p=fields["top_p"],
            top_k=fields["top_k"],
            seed=0 if fields["seed"] is None else fields["seed"],
        )
        thoughts = self.embedder._backend.think([fields["prompt"]], decoding, samples=fields["n"])
        ended = [[*thought.ids, *([4] if thought.stop == "emb_token" else [])] for thought in thoughts]
        return [ids[: fields["max_tokens"]] for ids in ended]

    def embeddings(self, fields: dict[str, Any]) -> list[dict[str, Any]]:
        prompts = [[4]] if isinstance(fields["input"], str) else fields["input"]
        states = self.embedder._backend.encode(prompts)[:, : self.dimension]
        rows = [
            {"index": index, "embedding": base64.b64encode(state.tobytes()).decode()}
            for index, state in enumerate(states)
        ]
        return rows[::-1]  # `index` decides the order


@contextmanager
def stub_vllm(embedder: T1Embedder) -> Iterator[Stub]:
    """Run both servers on one free port."""
    stub = Stub(embedder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if not self._fails():
                cards = [{"id": name, "max_model_len": length} for name, length in stub.models.items()]
                self._send(200, json.dumps({"data": cards}).encode())

        def do_POST(self) -> None:
            fields = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            stub.requests.append((self.path, fields))
            if self._fails():
                return
            if self.path == "/v1/embeddings":
                self._send(200, json.dumps({"data": stub.embeddings(fields)}).encode())
            elif fields.get("stream"):
                self._stream(stub.completion(fields))
            else:
                choices = [
                    {"index": index, "token_ids": ids, "text": stub.text}
                    for index, ids in enumerate(stub.completion(fields))
                ]
                self._send(200, json.dumps({"choices": choices[::-1]}).encode())  # `index` decides the order

        def _stream(self, thoughts: list[list[int]]) -> None:
            self.send_response(200)
            self.send_header("Connection", "close")
            self.end_headers()
            for at in range(0, max(map(len, thoughts)), 3):
                time.sleep(stub.token_delay)
                for index, ids in enumerate(thoughts):
                    part = {"choices": [{"index": index, "token_ids": ids[at : at + 3]}]}
                    self.wfile.write(b"data: " + json.dumps(part).encode() + b"\n\n")
                if stub.stop_stream:
                    error = {"error": {"message": "engine dead", "code": 500}}
                    self.wfile.write(b"data: " + json.dumps(error).encode() + b"\n\n")
                    return
            self.wfile.write(b'data: {"choices": []}\n\ndata: [DONE]\n\n')

        def _fails(self) -> bool:
            stub.keys.add(self.headers.get("Authorization"))
            if not stub.failures:
                return False
            status, content = stub.failures.pop(0)
            if status:
                self._send(status, content)
            else:
                self.close_connection = True
                self.connection.close()
            return True

        def _send(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *words: Any) -> None:
            pass

        def handle(self) -> None:
            with suppress(OSError, ValueError):  # from closed connections
                super().handle()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
