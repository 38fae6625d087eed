"""Servers that cannot be reached, and what the environment says about proxies and certificates."""

from __future__ import annotations

import importlib.util
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from t1_vectorstore.collection import Collection
from t1_vectorstore.engines.server.admin import ServerAdmin
from t1_vectorstore.engines.server.connections import check_reachable
from t1_vectorstore.errors import StoreError, StoreUnavailable
from t1_vectorstore.network import proxy_for
from t1_vectorstore.options import Retry
from tests.collection.points import MODEL
from tests.collection.stub_server import Stub, opened

REFUSING = "http://127.0.0.1:1"
REMOTE = "http://qdrant.example:6333"


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ssl_cert_file", "ssl_cert_dir"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@contextmanager
def listening() -> Iterator[str]:
    """A port that does not answer; further connections to it are dropped, as by a firewall."""
    with socket.socket() as server, socket.socket() as first, socket.socket() as second:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for client in (first, second):  # fill the queue
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield f"127.0.0.1:{server.getsockname()[1]}"


def refused(url: str) -> str:
    """Open a collection, and return the error, which must come soon."""
    started = time.monotonic()
    with pytest.raises(StoreUnavailable) as caught:
        Collection.open(url, identity=MODEL)
    assert time.monotonic() - started < 20  # without the limit it would be a minute or for ever
    return str(caught.value)


def test_a_refused_connection_is_named_soon() -> None:
    assert refused(REFUSING) == (
        "http://127.0.0.1:1 does not answer: Connection refused; is it running, and is the address right?"
    )
    started = time.monotonic()
    with pytest.raises(StoreUnavailable, match=REFUSING):
        ServerAdmin(REFUSING)
    assert time.monotonic() - started < 20


def test_a_host_that_drops_packets_is_named_soon() -> None:
    with listening() as address:
        assert f"http://{address} does not answer: no connection to {address} within 1.8 s" in refused(
            f"http://{address}"
        )


@pytest.mark.thorough
def test_an_unknown_host_is_named_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "http://no-such-host.invalid does not answer: " in refused("http://no-such-host.invalid")
    released = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: released.wait(20))  # a resolver that is not reachable
    assert "no connection to no-such-host.invalid:6333 within 1.8 s" in refused("http://no-such-host.invalid")
    released.set()


def test_a_server_that_is_starting_is_waited_for() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        timer = threading.Timer(0.5, server.listen)
        timer.start()
        check_reachable(f"http://127.0.0.1:{server.getsockname()[1]}", Retry())
        timer.join()


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:1", "socks5://127.0.0.1:1", "nonsense://"])
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_no_proxy_is_used_for_a_server_on_this_machine(
    stub: Stub, retry: Retry, monkeypatch: pytest.MonkeyPatch, variable: str, proxy: str
) -> None:
    monkeypatch.setenv(variable, proxy)
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such/file")
    with opened(stub, retry) as collection:
        stub.result({"count": 7})
        assert collection.count() == 7


@pytest.mark.thorough
def test_a_proxy_that_does_not_answer_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://user:secret@127.0.0.1:1")
    said = refused(REMOTE)
    assert said.startswith(f"{REMOTE} does not answer: Connection refused (through HTTP_PROXY=http://***@127.0.0.1:1; ")
    assert "secret" not in said
    monkeypatch.setenv("NO_PROXY", "qdrant.example")
    assert "HTTP_PROXY" not in refused(REMOTE)


def test_a_proxy_that_refuses_is_named(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", stub.url)
    stub.answer(407, {"error": "log in first"})
    with pytest.raises(
        StoreError, match=rf"refused: 407 .*log in first.* \(through http_proxy={stub.url}; set NO_PROXY"
    ):
        Collection.open(REMOTE, identity=MODEL)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("SSL_CERT_FILE", "/no/such/file", "SSL_CERT_FILE=/no/such/file cannot be used: .*No such file.*; name certif"),
        ("SSL_CERT_FILE", __file__, f"SSL_CERT_FILE={__file__} cannot be used: "),
        ("HTTPS_PROXY", "nonsense://user:secret@host", r"HTTPS_PROXY=nonsense://\*\*\*@host cannot be used: Unknown"),
        ("ALL_PROXY", "socks5://u:secret@host:9", r"ALL_PROXY=socks5://\*\*\*@host:9 .*; install the package socksio"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    if "socks" in value and importlib.util.find_spec("socksio"):
        pytest.skip("socksio is installed")
    monkeypatch.setenv(variable, value)
    for call in (lambda: Collection.open(REMOTE, identity=MODEL), lambda: ServerAdmin(REMOTE)):
        with pytest.raises(StoreError, match=f"{REMOTE} cannot be reached: {said}") as caught:
            call()
        assert "secret" not in str(caught.value)


def test_the_proxy_of_a_url_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "proxy.example:8080")
    monkeypatch.setenv("all_proxy", "socks5://socks.example")
    found: Any = {url: proxy_for(url) for url in ("https://a.example", "http://a.example", "http://[::1]:6333")}
    assert [proxy and (proxy.variable, proxy.host, proxy.port) for proxy in found.values()] == [
        ("HTTPS_PROXY=proxy.example:8080", "proxy.example", 8080),
        ("all_proxy=socks5://socks.example", "socks.example", 1080),
        None,
    ]
