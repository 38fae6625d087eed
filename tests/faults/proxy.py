"""A proxy between a client and a server that injects faults, by a random plan.

It listens on two neighbouring ports, as a server does. REST is parsed, so that a request can be refused, or carried out
without its answer. gRPC passes as bytes.
"""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from email.message import Message
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from typing import Any

from tests.collection.qdrant_server import two_free_ports

_COMPLAINT = b'{"status": {"error": "told to"}, "time": 0.0}'


class Fault(Enum):
    """A fault of one request, or of one piece of a gRPC stream."""

    DELAY = auto()
    DROP = auto()  # the connection is closed before the server gets the request
    LOSE = auto()  # the connection is closed after the server has carried out the request
    TRUNCATE = auto()  # like LOSE, after half of the answer
    TOO_MANY = 429
    INTERNAL = 500
    UNAVAILABLE = 503
    KILL = auto()  # the server is killed while it works, and restarted


class Plan:
    """The faults, in the order of the requests."""

    def __init__(self, seed: int, kill: Callable[[], None] | None = None, *, rate: float = 0.08) -> None:
        """Draw from ``seed``; ``kill`` kills the server and restarts it, once."""
        self.seen: Counter[Fault] = Counter()
        self._random = Random(seed)
        self._rate = rate
        self._kill = kill
        self._kill_at = self._random.randint(10, 60) if kill else 0
        self._requests = 0
        self._lock = threading.Lock()

    def next(self) -> Fault | None:
        """Return the fault of the next request, if any."""
        with self._lock:
            self._requests += 1
            fault = None
            if self._requests == self._kill_at:
                fault = Fault.KILL
            elif self._random.random() < self._rate:
                fault = self._random.choice([fault for fault in Fault if fault is not Fault.KILL])
            if fault is not None:
                self.seen[fault] += 1
            return fault

    def wait(self) -> None:
        """Wait for a random time."""
        time.sleep(self._random.uniform(0, 0.05))

    def kill(self) -> None:
        """Kill the server after a random moment."""
        assert self._kill is not None
        threading.Timer(self._random.uniform(0, 0.005), self._kill).start()


@contextmanager
def proxy(port: int, plan: Plan) -> Iterator[str]:
    """Run a proxy to the server on ``port`` and the next port, and give its URL."""
    while True:
        front = two_free_ports()
        with suppress(OSError):  # another process has taken the ports
            rest = _Rest(front, port, plan)
            break
    grpc = _Grpc(front + 1, port + 1, plan)
    try:
        yield f"http://127.0.0.1:{front}"
    finally:
        rest.shutdown()
        rest.server_close()
        grpc.close()


class _Rest(ThreadingHTTPServer):
    """The REST side."""

    daemon_threads = True

    def __init__(self, port: int, behind: int, plan: Plan) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.behind, self.plan = behind, plan
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    server: _Rest
    protocol_version = "HTTP/1.1"

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        plan = self.server.plan
        fault = plan.next()
        if fault in (Fault.TOO_MANY, Fault.INTERNAL, Fault.UNAVAILABLE):
            wait = {"Retry-After": "1"} if fault is Fault.TOO_MANY else {}
            self._answer(fault.value, {"Content-Type": "application/json", **wait}, _COMPLAINT)
            return
        if fault is Fault.DELAY:
            plan.wait()
        elif fault is Fault.KILL:
            plan.kill()
        found = None if fault is Fault.DROP else self._ask(body)
        if found is None or fault is Fault.LOSE:
            self._hang_up()
        else:
            status, headers, content = found
            self._answer(status, headers, content, cut=fault is Fault.TRUNCATE)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _pass

    def _ask(self, body: bytes) -> tuple[int, dict[str, str], bytes] | None:
        """Return the server's answer; ``None`` if it is down."""
        try:
            with closing(http.client.HTTPConnection("127.0.0.1", self.server.behind, timeout=30)) as connection:
                connection.request(self.command, self.path, body, _lasting(self.headers))
                found = connection.getresponse()
                return found.status, _lasting(found.headers), found.read()
        except (OSError, http.client.HTTPException):
            return None

    def _answer(self, status: int, headers: dict[str, str], content: bytes, *, cut: bool = False) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if cut else content)
        if cut:
            self._hang_up()

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *words: Any) -> None:
        pass

    def handle(self) -> None:
        with suppress(OSError, ValueError):  # closed connections
            super().handle()


def _lasting(headers: Message) -> dict[str, str]:
    """Return the headers that are not about one connection only."""
    of_one_hop = ("connection", "content-length", "transfer-encoding")
    return {name: text for name, text in headers.items() if name.lower() not in of_one_hop}


class _Grpc:
    """The gRPC side."""

    def __init__(self, port: int, server: int, plan: Plan) -> None:
        self._plan = plan
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):  # raised when it is closed
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError), socket.create_connection(("127.0.0.1", self._server)) as server:
            answers = threading.Thread(target=_pump, args=(server, client, lambda: None), daemon=True)
            answers.start()
            _pump(client, server, self._strike)
            answers.join()

    def _strike(self) -> Fault | None:
        fault = self._plan.next()
        if fault is Fault.DELAY:
            self._plan.wait()
        elif fault is Fault.KILL:
            self._plan.kill()
        return fault


def _pump(source: socket.socket, target: socket.socket, strike: Callable[[], Fault | None]) -> None:
    """Copy bytes until one end is closed or a fault closes both."""
    with suppress(OSError):
        while piece := source.recv(2**16):
            fault = strike()
            if fault in (None, Fault.DELAY, Fault.KILL):
                target.sendall(piece)
                continue
            if fault is Fault.TRUNCATE:
                target.sendall(piece[: len(piece) // 2])
            elif fault is Fault.LOSE:
                target.sendall(piece)
                time.sleep(0.01)  # until the server has carried out the request
            break
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
