"""A real Qdrant server in a container, if there is a container engine."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from tests.collection.qdrant_server import two_free_ports

IMAGE = "qdrant/qdrant:v1.16.3-unprivileged"


def no_container() -> str | None:
    """Return why there can be no container, or ``None``."""
    try:
        from docker.errors import DockerException

        from docker import from_env  # the folder docker/ of this repository does not have this name
    except ImportError:
        return "testcontainers is not installed"
    obstacle = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # the library does not close a socket that did not connect
        try:
            client = from_env(timeout=5)
            client.ping()
            client.close()
        except DockerException:
            obstacle = "no container engine answers"
        gc.collect()
    return obstacle


@contextmanager
def running_container() -> Iterator[str]:
    """Start a server of the pinned version and give its URL; gRPC is on the next port."""
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import HttpWaitStrategy

    port = two_free_ports()
    container = DockerContainer(IMAGE).waiting_for(HttpWaitStrategy(6333, "/readyz"))
    # with_bind_ports cannot bind to the loopback interface only.
    container.ports = {"6333/tcp": ("127.0.0.1", port), "6334/tcp": ("127.0.0.1", port + 1)}
    with container:
        yield f"http://127.0.0.1:{port}"
