"""Many clients, clients that leave, and the end of the service: every request is answered, finished or given up."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.responses import Response
from starlette.routing import Route

from t1_vectorstore import T1VectorStore
from tests.service.live import Live, live
from tests.service.slow import QUERY, SlowBackend, slow_embedder, until
from tests.service.test_search import events

pytestmark = pytest.mark.process

Run = Callable[..., Live]


class Setting:
    """A service whose model is slow, and clients in threads."""

    def __init__(self, service: Live, backend: SlowBackend, store: T1VectorStore, threads: ThreadPoolExecutor) -> None:
        self.service, self.backend, self.store, self._threads = service, backend, store, threads

    def post(self, route: str, body: dict[str, Any]) -> Future[httpx.Response]:
        """Send a request from a thread of its own."""
        return self._threads.submit(httpx.post, f"{self.service.url}{route}", json=body, timeout=60)

    def state(self, kind: str, of: str) -> float:
        """Read a gauge."""
        metrics = httpx.get(f"{self.service.url}/metrics").text
        line = next(line for line in metrics.splitlines() if line.startswith(f't1_requests_{of}{{kind="{kind}"'))
        return float(line.split()[-1])


@pytest.fixture
def setting(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Setting]:
    """A running service; the test's parameter has its options."""
    embedder, backend = slow_embedder()
    options = getattr(request, "param", {})
    with (
        T1VectorStore.open(tmp_path / "index", embedder) as store,
        ThreadPoolExecutor(32) as threads,
        live({"index": store}, **options) as service,
    ):
        yield Setting(service, backend, store, threads)
        backend.may_encode.set()


def small(**options: Any) -> Any:
    return pytest.mark.parametrize("setting", [options], indirect=True, ids=[""])


def test_a_client_that_leaves_a_stream_ends_its_thought(setting: Setting) -> None:
    body = {"query": QUERY}
    with httpx.stream("POST", f"{setting.service.url}/v1/search/stream", json=body) as answer:
        next(answer.iter_lines())
    until(lambda: setting.state("queries", "running") == 0)
    time.sleep(0.1)
    generated = setting.backend.generated
    time.sleep(0.2)
    assert setting.backend.generated == generated < len(QUERY)


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("/v1/search", {"query": QUERY}),
        ("/v1/embeddings", {"input": [QUERY] * 3, "input_type": "query"}),
        ("/v1/rerank", {"query": QUERY, "documents": ["a"]}),
    ],
)
def test_a_client_that_does_not_wait_ends_its_thought(setting: Setting, route: str, body: dict[str, Any]) -> None:
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{setting.service.url}{route}", json=body, timeout=0.3)
    until(lambda: setting.state("queries", "running") == 0)
    time.sleep(0.1)
    generated = setting.backend.generated
    time.sleep(0.2)
    assert setting.backend.generated == generated < len(QUERY)


@small(query_slots=1, query_queue=1)
def test_a_full_queue_refuses_and_says_when_to_come_back(setting: Setting) -> None:
    running = setting.post("/v1/search", {"query": QUERY})
    until(lambda: setting.state("queries", "running") == 1)
    waiting = setting.post("/v1/search", {"query": QUERY, "budget": 3})
    until(lambda: setting.state("queries", "waiting") == 1)
    refused = setting.post("/v1/search/stream", {"query": QUERY}).result()
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "queue_full"
    assert 1 <= int(refused.headers["retry-after"]) <= 10
    assert running.result().status_code == waiting.result().status_code == 200


@small(query_slots=1, query_queue=4)
def test_a_client_that_leaves_the_queue_is_forgotten(setting: Setting) -> None:
    running = setting.post("/v1/search", {"query": QUERY})
    until(lambda: setting.state("queries", "running") == 1)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{setting.service.url}/v1/search", json={"query": QUERY}, timeout=0.2)
    until(lambda: setting.state("queries", "waiting") == 0)
    assert running.result().status_code == 200
    assert setting.backend.generated == len(QUERY)


@small(document_slots=1, document_queue=2)
def test_a_backlog_of_documents_does_not_delay_queries(setting: Setting) -> None:
    setting.backend.may_encode.clear()
    loads = [setting.post("/v1/documents", {"documents": [{"text": f"Number {n}."}]}) for n in range(3)]
    until(lambda: setting.state("documents", "waiting") == 2)
    assert setting.post("/v1/embeddings", {"input": "a", "input_type": "document"}).result().status_code == 429
    assert setting.post("/v1/search", {"query": "ten tokens"}).result().status_code == 200
    setting.backend.may_encode.set()
    assert [load.result().json()["verified"] for load in loads] == [1, 1, 1]


def test_documents_of_a_client_that_leaves_are_stored(setting: Setting) -> None:
    setting.backend.may_encode.clear()
    body = {"documents": [{"id": "a", "text": "A."}]}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{setting.service.url}/v1/documents", json=body, timeout=0.3)
    setting.backend.may_encode.set()
    until(lambda: setting.store.count() == 1)


def test_the_service_finishes_its_requests_before_it_stops(setting: Setting) -> None:
    url = setting.service.url
    with httpx.Client() as kept, httpx.stream("POST", f"{url}/v1/search/stream", json={"query": QUERY}) as answer:
        lines = answer.iter_lines()
        first = next(lines)
        assert kept.get(f"{url}/readyz").status_code == 200
        load = setting.post("/v1/documents", {"documents": [{"text": "A."}]})
        until(lambda: setting.state("documents", "running") == 1 or load.done())
        setting.service.stop(wait=False)
        until(lambda: kept.get(f"{url}/readyz").status_code == 503)
        assert kept.get(f"{url}/healthz").status_code == 200
        refused = httpx.post(f"{url}/v1/search", json={"query": "a"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "stopping")
        assert "retry-after" in refused.headers
        received = events("\n".join([first, *lines]))
    assert received[-1][0] == "result"
    assert load.result().json()["verified"] == 1
    setting.service.stop()


@small(grace=0.2)
def test_requests_that_do_not_finish_in_time_get_an_error(setting: Setting) -> None:
    setting.backend.may_encode.clear()
    load = setting.post("/v1/documents", {"documents": [{"text": "A."}]})
    search = setting.post("/v1/search", {"query": QUERY})
    embedding = setting.post("/v1/embeddings", {"input": QUERY, "input_type": "query"})
    with httpx.stream("POST", f"{setting.service.url}/v1/search/stream", json={"query": QUERY}) as answer:
        lines = answer.iter_lines()
        first = next(lines)
        until(lambda: setting.state("queries", "running") == 3 and setting.state("documents", "running") == 1)
        setting.service.stop(wait=False)
        received = events("\n".join([first, *lines]))
    assert received[-1][0] == "error"
    assert received[-1][1]["error"]["code"] == "stopping"
    for request in (load, search, embedding):
        assert (request.result().status_code, request.result().json()["error"]["code"]) == (503, "stopping")
    setting.backend.may_encode.set()
    setting.service.stop()
    assert setting.backend.generated < 3 * len(QUERY)


def connect(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


HEAD = b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@small(max_body_bytes=10_000)
def test_bodies_that_are_too_large_are_refused_early(setting: Setting) -> None:
    url = f"{setting.service.url}/v1/search"
    declared = httpx.post(url, json={"query": "x" * 20_000})
    assert (declared.status_code, declared.json()["error"]["code"]) == (413, "body_too_large")

    def endless() -> Iterator[bytes]:
        for _ in range(100_000):
            yield b" " * 1000

    sent = 0
    with connect(setting.service.url) as raw:
        raw.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        try:
            for part in endless():
                raw.sendall(b"%x\r\n%b\r\n" % (len(part), part))
                sent += len(part)
        except OSError:
            pass
        assert sent < 50_000_000
    with connect(setting.service.url) as raw:
        raw.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        raw.sendall(b"%x\r\n%b\r\n" % (20_000, b" " * 20_000))
        assert b" 413 " in raw.recv(1000).split(b"\r\n")[0]


@small(client_seconds=0.3)
def test_clients_that_send_slowly_are_cut_off(setting: Setting) -> None:
    with connect(setting.service.url) as raw:
        raw.sendall(HEAD + b'Content-Length: 100\r\n\r\n{"query"')
        assert b" 408 " in raw.recv(1000).split(b"\r\n")[0]
    with connect(setting.service.url) as raw:
        raw.sendall(HEAD[:40])
        assert raw.recv(1000) == b""
    with connect(setting.service.url) as raw:
        assert raw.recv(1000) == b""
    slow = setting.post("/v1/search", {"query": QUERY}).result()  # a slow model is not a slow client
    assert slow.status_code == 200


@small(client_seconds=0.3)
def test_clients_that_do_not_read_are_cut_off(setting: Setting, caplog: pytest.LogCaptureFixture) -> None:
    documents = [{"text": "x" * 1000 + str(n)} for n in range(200)]
    assert setting.post("/v1/documents", {"documents": documents}).result().status_code == 200
    with connect(setting.service.url) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        body = b'{"limit": 1000}'
        request = b"POST /v1/documents/list HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        for _ in range(50):
            raw.sendall(request + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        until(lambda: "did not read its answer" in caplog.text)
    assert setting.post("/v1/search", {"query": "a"}).result().status_code == 200


@small(client_seconds=0.5)
def test_a_large_answer_that_nobody_reads_is_not_kept(setting: Setting) -> None:
    body = b"x" * 50_000_000
    setting.service.app.router.routes.insert(0, Route("/large", lambda _: Response(body)))
    with connect(setting.service.url) as raw:
        raw.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until(lambda: setting.service.connections == 1)
        until(lambda: setting.service.connections == 0)
        received = 0
        with suppress(ConnectionResetError):
            while part := raw.recv(1_000_000):
                received += len(part)
        assert received < len(body)
    assert httpx.get(f"{setting.service.url}/large").content == body  # a client that reads it gets all


def test_many_clients_get_their_own_answers(setting: Setting) -> None:
    texts = [f"query {number}" for number in range(32)]
    answers = [setting.post("/v1/embeddings", {"input": text, "input_type": "query"}) for text in texts]
    for text, answer in zip(texts, answers, strict=True):
        assert answer.result().json()["data"][0]["thoughts"][0]["text"] == text[::-1]
    assert threading.active_count() < 100
