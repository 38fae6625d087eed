"""A service on a real socket, for clients that open connections of their own."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from t1_vectorstore import T1VectorStore
from t1_vectorstore.server import ServiceOptions, create_app
from t1_vectorstore.server.run import Server, address, listen


class Live:
    """A service that runs in a thread.

    Attributes:
        url: Its address.
        app: The application.
    """

    def __init__(self, stores: Mapping[str, T1VectorStore], **options: Any) -> None:
        embedders = options.pop("embedders", ())
        self.app = create_app(stores, embedders=embedders, options=ServiceOptions(**options))
        self._socket = listen("127.0.0.1", 0)
        self.url = address(self._socket)
        self._server = Server(self.app)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],))

    def start(self) -> None:
        self._thread.start()

    def stop(self, *, wait: bool = True) -> None:
        """Do what SIGTERM does."""
        self._server.handle_exit(signal.SIGTERM, None)
        if wait:
            self._thread.join(60)
            assert not self._thread.is_alive()

    @property
    def connections(self) -> int:
        """Number of open connections."""
        return len(self._server.server_state.connections)

    @property
    def running(self) -> bool:
        return self._thread.is_alive()


@contextmanager
def live(stores: Mapping[str, T1VectorStore], **options: Any) -> Iterator[Live]:
    """Run a service for the length of a ``with`` block."""
    service = Live(stores, **options)
    service.start()
    try:
        yield service
    finally:
        service.stop()
