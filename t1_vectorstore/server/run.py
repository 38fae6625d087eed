"""Runs the application with uvicorn: the socket, signals, and an orderly end."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from t1_vectorstore.server.service import Service

logger = logging.getLogger(__name__)

_LAST_ANSWERS = 2.0
"""Seconds to send the errors of requests that are given up."""
_BACKLOG = 512


def listen(host: str, port: int) -> socket.socket:
    """Open the socket before anything expensive happens; connections wait until the service runs.

    Raises:
        ValueError: The port is in use, or the address is not of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only for sockets that name the protocol; otherwise answers wait 40 ms.
    opened = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((host, port))
        opened.listen(_BACKLOG)
    except OSError as error:
        opened.close()
        raise ValueError(f"cannot listen on {host}:{port}: {error.strerror or error}; choose another --port") from None
    return opened


def address(listening: socket.socket) -> str:
    """Return the URL under which this machine reaches a listening socket."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - is compared
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(app: FastAPI, listening: socket.socket) -> None:
    """Serve an application until SIGTERM or SIGINT, then let its requests finish."""
    Server(app).run([listening])


class Server(uvicorn.Server):
    """A uvicorn server that goes on answering while it stops.

    uvicorn closes its socket at the first signal, and later drops what still runs. Here the first signal turns
    readiness off; new requests get an error, running ones finish. What is not finished after the grace period gets an
    error. Only then is the socket closed. A second signal gives up the running requests at once.
    """

    def __init__(self, app: FastAPI) -> None:
        """Prepare to serve an application of ``create_app``."""
        service: Service = app.state.service
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=round(_LAST_ANSWERS) + 1,
        )
        config.load()
        config.http_protocol_class = _with_timeouts(config.http_protocol_class, service.options.client_seconds)
        super().__init__(config)
        self._lifecycle = service.work.lifecycle
        self._grace = service.options.grace
        self._signals = 0
        self._stop_at = self._end_at = float("inf")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note a signal; the next tick acts on it."""
        self._signals += 1

    async def on_tick(self, counter: int) -> bool:
        """Go through the states of stopping; called ten times a second."""
        now = time.monotonic()
        lifecycle = self._lifecycle
        if self._signals and not lifecycle.stopping:
            lifecycle.stopping = True
            self._stop_at = now + self._grace
            logger.info("stopping: %d requests are running", lifecycle.running)
        if lifecycle.stopping and not lifecycle.expired.is_set():
            if not lifecycle.running:
                self.should_exit = True
            elif now >= self._stop_at or self._signals > 1:
                logger.warning("giving up %d running requests", lifecycle.running)
                lifecycle.give_up()
                self._end_at = now + _LAST_ANSWERS
        elif lifecycle.stopping and (not lifecycle.running or now >= self._end_at):
            self.should_exit = True
        return await super().on_tick(counter)


def _with_timeouts(protocol: Any, seconds: float) -> type[asyncio.Protocol]:  # noqa: ANN401 - one of uvicorn's
    """Return a protocol that closes connections whose client neither sends a whole request nor reads its answer.

    uvicorn has a limit only for connections that are idle after a request. It would wait for the first one, or for the
    rest of its headers, as long as the client likes, and closes a connection only when the client has read everything.
    """

    class Protocol(protocol):  # type: ignore[misc]
        _silent: asyncio.TimerHandle | None = None
        _unread: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self._silent = self.loop.call_later(seconds, transport.close)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:
                self._hear()
            elif self._silent is None:  # the beginning of a further request
                self._silent = self.loop.call_later(seconds, self.transport.close)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._unread = self.loop.call_later(seconds, self.transport.abort)

        def resume_writing(self) -> None:
            self._read()
            super().resume_writing()

        def timeout_keep_alive_handler(self) -> None:
            super().timeout_keep_alive_handler()
            if self._unread is None:
                self._unread = self.loop.call_later(seconds, self.transport.abort)

        def connection_lost(self, exc: Exception | None) -> None:
            self._hear()
            self._read()
            super().connection_lost(exc)

        def _read(self) -> None:
            if self._unread is not None:
                self._unread.cancel()
                self._unread = None

        def _hear(self) -> None:
            if self._silent is not None:
                self._silent.cancel()
                self._silent = None

    return Protocol
