"""The socket of the service."""

from __future__ import annotations

import socket

import pytest

from t1_vectorstore.server.run import address, listen


def test_answers_are_sent_at_once() -> None:
    """asyncio turns Nagle's algorithm off for connections of sockets that name their protocol, and only for these."""
    with listen("127.0.0.1", 0) as listening:
        assert listening.proto == socket.IPPROTO_TCP
        assert address(listening) == f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_a_port_in_use_is_a_mistake() -> None:
    with listen("127.0.0.1", 0) as first, pytest.raises(ValueError, match="Address already in use; choose another"):
        listen("127.0.0.1", first.getsockname()[1])
    with pytest.raises(ValueError, match=r"cannot listen on 192\.0\.2\.1:0"):
        listen("192.0.2.1", 0)
