"""A loopback server that answers like two vLLM servers, by a small real model, or as badly as it is told."""

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
    """What was asked, and what is to go wrong."""

    embedder: T1Embedder
    url: str = ""
    models: dict[str, int] = field(default_factory=lambda: {"t1": 2048})
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    keys: set[str | None] = field(default_factory=set)
    failures: list[tuple[int, bytes]] = field(default_factory=list)
    """Answers given in place of the next ones; status 0 hangs up."""
    token_delay: float = 0.0
    cut_stream: bool = False
    text: str = "<emb_token>"
    dimension: int | None = None

    def completion(self, asked: dict[str, Any]) -> list[list[int]]:
        if asked.get("echo"):
            return [[]]
        decoding = Decoding(
            max_tokens=asked["max_tokens"],
            temperature=asked["temperature"],
            top_p=asked["top_p"],
            top_k=asked["top_k"],
            seed=0 if asked["seed"] is None else asked["seed"],
        )
        thoughts = self.embedder._backend.think([asked["prompt"]], decoding, samples=asked["n"])
        closed = [[*thought.ids, *([4] if thought.stop == "emb_token" else [])] for thought in thoughts]
        return [ids[: asked["max_tokens"]] for ids in closed]

    def embeddings(self, asked: dict[str, Any]) -> list[dict[str, Any]]:
        prompts = [[4]] if isinstance(asked["input"], str) else asked["input"]
        states = self.embedder._backend.encode(prompts)[:, : self.dimension]
        rows = [
            {"index": index, "embedding": base64.b64encode(state.tobytes()).decode()}
            for index, state in enumerate(states)
        ]
        return rows[::-1]  # the order is what `index` says


@contextmanager
def stub_vllm(embedder: T1Embedder) -> Iterator[Stub]:
    """Both servers on one free port."""
    stub = Stub(embedder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if not self._fails():
                cards = [{"id": name, "max_model_len": room} for name, room in stub.models.items()]
                self._send(200, json.dumps({"data": cards}).encode())

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            stub.asked.append((self.path, asked))
            if self._fails():
                return
            if self.path == "/v1/embeddings":
                self._send(200, json.dumps({"data": stub.embeddings(asked)}).encode())
            elif asked.get("stream"):
                self._stream(stub.completion(asked))
            else:
                choices = [
                    {"index": index, "token_ids": ids, "text": stub.text}
                    for index, ids in enumerate(stub.completion(asked))
                ]
                self._send(200, json.dumps({"choices": choices[::-1]}).encode())  # the order is what `index` says

        def _stream(self, thoughts: list[list[int]]) -> None:
            self.send_response(200)
            self.send_header("Connection", "close")
            self.end_headers()
            for at in range(0, max(map(len, thoughts)), 3):
                time.sleep(stub.token_delay)
                for index, ids in enumerate(thoughts):
                    part = {"choices": [{"index": index, "token_ids": ids[at : at + 3]}]}
                    self.wfile.write(b"data: " + json.dumps(part).encode() + b"\n\n")
                if stub.cut_stream:
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
            with suppress(OSError, ValueError):  # of the connections that were hung up
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
