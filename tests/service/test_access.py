"""Who may do what: API keys, scopes, indexes, hosts, origins, rates. What is not allowed changes nothing."""

from __future__ import annotations

import json
import logging
import stat
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from t1_vectorstore import T1Embedder, T1VectorStore
from t1_vectorstore.server import ServiceOptions
from t1_vectorstore.server.guards import is_protected
from t1_vectorstore.server.hosts import is_safe_host, split_host
from t1_vectorstore.server.keys import KeyFile, changing_keys, find_key, new_key
from tests.service.conftest import Serve

Make = Callable[..., dict[str, str]]
WRITES = (("", {"documents": [{"text": "x"}]}), ("/delete", {"ids": ["oslo"]}))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys.json"
    KeyFile().write(path)
    return path


@pytest.fixture
def make(file: Path) -> Make:
    """Create a key, and return the header with it."""

    def create(name: str = "key", **options: Any) -> dict[str, str]:
        secret, entry = new_key(name, **options)
        KeyFile(keys=(*KeyFile.read(file).keys, entry)).write(file)
        return {"Authorization": f"Bearer {secret}"}

    return create


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def routes(client: TestClient) -> list[tuple[str, str]]:
    paths = client.get("/openapi.json").json()["paths"]
    return [(method, path) for path, methods in paths.items() for method in methods]


def test_every_route_but_the_health_checks_needs_a_key(serve: Serve, file: Path) -> None:
    client = serve(keys=file)
    checked = 0
    for method, path in routes(client):
        answer = client.request(method, path)
        if path in ("/healthz", "/readyz"):
            assert answer.status_code == 200
        else:
            assert code(answer) == (401, "key_missing")
            assert answer.headers["www-authenticate"] == "Bearer"
            checked += 1
    assert checked > 10
    for path in ("/v1/nothing", "/metrics/", "/mcp", "/mcp/sse"):
        assert client.get(path).status_code == 401


@pytest.mark.parametrize(
    "header",
    ["Bearer wrong", "Bearer t1_", "Bearer", "Basic dXNlcjpwYXNz", "bearer \x7f\xff", "", "Bearer " + "x" * 10_000],
)
def test_wrong_keys_are_refused(serve: Serve, file: Path, make: Make, header: str) -> None:
    make()
    answer = serve(keys=file).get("/v1/models", headers={"Authorization": header.encode("latin-1")})
    assert answer.status_code == 401


def test_a_key_that_reads_cannot_write(serve: Serve, file: Path, make: Make, store: T1VectorStore) -> None:
    client = serve(keys=file)
    reads, writes = make("reads"), make("writes", scopes=["read", "write"])
    assert client.post("/v1/search", json={"query": "x"}, headers=reads).status_code == 200
    assert [index["writable"] for index in client.get("/v1/indexes", headers=reads).json()["data"]] == [False]
    for route, body in WRITES:
        assert code(client.post(f"/v1/documents{route}", json=body, headers=reads)) == (403, "scope_missing")
    assert store.count() == 3
    for route, body in WRITES:
        assert client.post(f"/v1/documents{route}", json=body, headers=writes).status_code == 200
    only_writes = make("only", scopes=["write"])
    assert code(client.post("/v1/search", json={"query": "x"}, headers=only_writes)) == (403, "scope_missing")


def test_a_key_opens_only_its_indexes(
    serve: Serve, file: Path, make: Make, store: T1VectorStore, fake: T1Embedder
) -> None:
    with T1VectorStore.open(":memory:", fake) as second:
        client = serve({"open": store, "closed": second}, keys=file)
        header = make(indexes=["open"], scopes=["read", "write"])
        assert [index["name"] for index in client.get("/v1/indexes", headers=header).json()["data"]] == ["open"]
        assert client.post("/v1/search", json={"query": "x"}, headers=header).json()["index"] == "open"
        for index in ("closed", "missing"):
            answer = client.post("/v1/search", json={"query": "x", "index": index}, headers=header)
            assert answer.json()["error"]["message"] == f"no index {index!r}; there are 'open'"
            answer = client.post("/v1/documents", json={**WRITES[0][1], "index": index}, headers=header)
            assert code(answer) == (404, "index_not_found")
        assert second.count() == 0
        none = make("none", indexes=["elsewhere"])
        assert client.get("/v1/models", headers=none).json()["data"] == []
        assert code(client.post("/v1/embeddings", json={"input": "x"}, headers=none)) == (400, "model_missing")


def test_keys_expire_and_are_revoked_at_once(serve: Serve, file: Path, make: Make) -> None:
    client = serve(keys=file)
    now = datetime.now(timezone.utc)
    expired, valid = make("old", expires=now - timedelta(seconds=1)), make("new", expires=now + timedelta(days=1))
    assert code(client.get("/v1/models", headers=expired)) == (401, "key_expired")
    assert client.get("/v1/models", headers=valid).status_code == 200
    KeyFile().write(file)
    assert code(client.get("/v1/models", headers=valid)) == (401, "key_unknown")


def test_without_a_readable_file_no_key_is_accepted(serve: Serve, file: Path, make: Make) -> None:
    client, header = serve(keys=file), make()
    kept = file.read_bytes()
    for broken in (b"{", b"[]", b'{"keys": [{}]}', b"\xff"):
        file.write_bytes(broken)
        assert code(client.get("/v1/models", headers=header)) == (503, "keys_unreadable")
    file.unlink()
    assert code(client.get("/v1/models", headers=header)) == (503, "keys_unreadable")
    file.write_bytes(kept)
    assert client.get("/v1/models", headers=header).status_code == 200


def test_the_file_has_hashes_and_is_private(file: Path, make: Make) -> None:
    secret = make()["Authorization"].removeprefix("Bearer ")
    assert secret not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    keys = KeyFile.read(file).keys
    assert find_key(secret, keys) == keys[0]
    assert find_key(secret[:-1], keys) is None


def test_an_address_that_others_reach_needs_keys(file: Path) -> None:
    for host in ("0.0.0.0", "::", "192.168.1.2", "example.org"):
        with pytest.raises(ValueError, match="there are no API keys"):
            ServiceOptions(host=host)
        ServiceOptions(host=host, keys=file)
        ServiceOptions(host=host, without_keys=True)
    for host in ("127.0.0.1", "::1", "localhost", "127.1.2.3"):
        ServiceOptions(host=host)
    with pytest.raises(ValueError, match="choose one of them"):
        ServiceOptions(keys=file, without_keys=True)
    with pytest.raises(ValueError, match="is not an origin"):
        ServiceOptions(allow_origins=("https://example.org/path",))


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8321", 200),
        ("127.0.0.1", 200),
        ("[::1]:8321", 200),
        ("attacker.example", 403),
        ("localhost.attacker.example:8321", 403),
        ("user@localhost", 400),
        ("localhost/x", 400),
        ("localhost:port", 400),
        ("", 400),
    ],
)
def test_a_local_service_answers_only_under_local_names(client: TestClient, host: str, status: int) -> None:
    for path in ("/v1/models", "/", "/openapi.json"):
        answer = client.get(path, headers={"Host": host})
        assert answer.status_code == status or (status == 200 and path == "/")


def test_host_names_can_be_allowed(serve: Serve, file: Path, make: Make) -> None:
    allowed = serve(allow_hosts=("search.example",))
    assert allowed.get("/v1/models", headers={"Host": "Search.Example:80"}).status_code == 200
    assert allowed.get("/v1/models", headers={"Host": "other.example"}).status_code == 403
    keyed = serve(keys=file)
    assert keyed.get("/v1/models", headers={"Host": "any.example", **make()}).status_code == 200


@pytest.mark.parametrize("origin", ["https://attacker.example", "null", "http://localhost:1", "file://"])
def test_pages_of_other_sites_are_refused(client: TestClient, store: T1VectorStore, origin: str) -> None:
    for route, body in (("/v1/search", {"query": "x"}), ("/v1/documents", WRITES[0][1])):
        for kind in ("application/json", "text/plain"):
            answer = client.post(route, content=json.dumps(body), headers={"Origin": origin, "Content-Type": kind})
            assert code(answer) == (403, "origin_not_allowed")
            assert "access-control-allow-origin" not in answer.headers
    preflight = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    assert client.options("/v1/search", headers=preflight).status_code == 403
    assert store.count() == 3


def test_pages_of_the_service_and_of_allowed_sites_are_answered(serve: Serve) -> None:
    client = serve(allow_origins=("https://app.example",))
    own = client.post("/v1/search", json={"query": "x"}, headers={"Origin": "http://localhost"})
    assert own.status_code == 200
    other = client.post("/v1/search", json={"query": "x"}, headers={"Origin": "https://app.example"})
    assert other.headers["access-control-allow-origin"] == "https://app.example"
    headers = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    preflight = client.options("/v1/search", headers={"Origin": "https://app.example", **headers})
    assert preflight.status_code == 200
    assert client.post("/v1/search", json={"query": "x"}, headers={"Origin": "https://b.example"}).status_code == 403


def test_requests_are_limited_by_key(serve: Serve, file: Path, make: Make) -> None:
    client = serve(keys=file, requests_per_minute=3)
    first, second = make("first"), make("second")
    assert [client.get("/v1/models", headers=first).status_code for _ in range(4)] == [200, 200, 200, 429]
    refused = client.get("/v1/models", headers=first)
    assert code(refused) == (429, "rate_limited")
    assert 1 <= int(refused.headers["retry-after"]) <= 20
    assert client.get("/v1/models", headers=second).status_code == 200
    assert client.get("/healthz").status_code == 200


def test_the_page_and_every_answer_have_security_headers(client: TestClient) -> None:
    for path in ("/", "/healthz", "/v1/models", "/nothing"):
        answer = client.get(path)
        assert answer.headers["content-security-policy"].startswith("default-src 'self'")
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert client.get("/").headers["content-type"].startswith("text/html")
    for path in ("/../app.py", "/%2e%2e/app.py", "/..%2fapp.py", "/....//app.py", "/style.css/../../app.py"):
        assert client.get(path).status_code == 404


def test_paths_are_protected_by_their_first_part() -> None:
    assert all(map(is_protected, ("/v1", "/v1/search", "/mcp", "/metrics")))
    assert not any(map(is_protected, ("/", "/v1x", "/healthz", "/index.html")))


def test_hosts() -> None:
    assert split_host("[::1]:80") == "::1"
    assert split_host("LOCALHOST") == "localhost"
    assert is_safe_host("a.localhost", ())
    assert not is_safe_host("localhost.a", ())


def test_logs_have_no_texts_unless_asked(
    serve: Serve, file: Path, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    body = {"query": "a secret question"}
    header = make("ann")
    serve(keys=file).post("/v1/search", json=body, headers=header)
    fields = next(record.fields for record in caplog.records if record.name == "t1_vectorstore.access")  # type: ignore[attr-defined]
    assert (fields["key"], fields["index"], fields["status"], fields["route"]) == ("ann", "capitals", 200, "/v1/search")
    assert "secret" not in str([vars(record) for record in caplog.records])
    caplog.clear()
    serve(keys=file, log_texts=True).post("/v1/search", json=body, headers=header)
    assert "a secret question" in str([vars(record) for record in caplog.records])
    assert header["Authorization"][7:] not in str([vars(record) for record in caplog.records])


def test_the_openapi_document_names_the_keys(serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    KeyFile(keys=(new_key("reads")[1],)).write(file)
    described = serve(keys=file).get("/openapi.json").json()
    assert described["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    assert described["paths"]["/v1/search"]["post"]["security"] == [{"HTTPBearer": []}]
    assert "security" not in described["paths"]["/healthz"]["get"]
    assert "securitySchemes" not in serve().get("/openapi.json").json()["components"]


def test_changes_of_the_keys_wait_for_each_other(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"

    def add(number: int) -> None:
        with changing_keys(file, create=True) as keys:
            time.sleep(0.01)
            keys.append(new_key(f"key {number}")[1])

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(add, range(8)))
    assert len(KeyFile.read(file).keys) == 8
