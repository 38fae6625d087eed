"""Fixtures: servers, among them one that can be killed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.collection.conftest import absent, admin, fresh_name, server_url  # noqa: F401 - fixtures
from tests.collection.qdrant_binary import cached
from tests.collection.qdrant_server import LocalServer, running_server


@pytest.fixture(scope="session")
def killable_server() -> Iterator[LocalServer]:
    """A server for these tests only, from the pinned binary."""
    if (binary := cached()) is None:
        absent("no Qdrant server to kill: run python -m tests.collection.qdrant_binary")
    with running_server(binary) as server:
        yield server
