"""Servers: one that can be killed, and any other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.collection.conftest import absent, admin, fresh_name, server_url  # noqa: F401 - fixtures
from tests.collection.qdrant_binary import cached
from tests.collection.qdrant_server import LocalServer, running_server


@pytest.fixture(scope="session")
def mortal_server() -> Iterator[LocalServer]:
    """A server of our own from the pinned binary: one that others use must not be killed."""
    if (binary := cached()) is None:
        absent("no Qdrant server to kill: run python -m tests.collection.qdrant_binary")
    with running_server(binary) as server:
        yield server
