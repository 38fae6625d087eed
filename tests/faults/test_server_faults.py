"""Loads through a failing network, with kills of server and clients: they complete exactly the same collection."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from qdrant_client import QdrantClient

from t1_vectorstore.options import Retry
from tests.collection.conftest import CLOSED_PORT
from tests.collection.qdrant_server import LocalServer
from tests.faults.attempt import Attempt, draw_kills
from tests.faults.corpus import draw
from tests.faults.proxy import Fault, Plan, proxy
from tests.faults.state import contents

pytestmark = pytest.mark.faults


def short_sleep(seconds: float) -> None:
    """Wait less than for a distant server."""
    time.sleep(min(seconds, 0.1))


RETRY = Retry(attempts=200, first_wait=0.02, longest_wait=0.1, sleep=short_sleep)
PROTOCOLS: dict[str, dict[str, Any]] = {"grpc": {}, "rest": {"grpc_port": CLOSED_PORT}}


@pytest.fixture
def names(killable_server: LocalServer) -> Iterator[tuple[str, str]]:
    """Two unused collection names; the collections are deleted afterwards."""
    two = f"broken-{uuid.uuid4().hex}", f"whole-{uuid.uuid4().hex}"
    yield two
    admin = QdrantClient(url=killable_server.url, check_compatibility=False, timeout=30)
    for name in two:
        admin.delete_collection(name)
    admin.close()


@pytest.mark.parametrize("killed", ["nobody", "client", "server", "both"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("seed", range(13))
def test_a_load_through_faults_is_completed_by_a_rerun(
    killable_server: LocalServer, names: tuple[str, str], seed: int, protocol: str, killed: str
) -> None:
    random, corpus = Random(f"{seed} {protocol} {killed}"), draw(seed)
    options = {"retry": RETRY, **PROTOCOLS[protocol]}
    broken, whole = ({**options, "name": name} for name in names)
    Attempt(killable_server.url, corpus.before, broken).run()
    plan = Plan(random.getrandbits(32), killable_server.restart if killed in ("server", "both") else None)
    kills = draw_kills(random) if killed in ("client", "both") else []
    with proxy(killable_server.port, plan) as url:
        proxied = Attempt(url, corpus.after, broken)
        ended = [proxied.in_a_process(kill) for kill in kills]
        assert not all(ended) or not kills, "no load was killed, so this run tests nothing"
        assert proxied.in_a_process()
    assert plan.seen.keys() >= ({Fault.KILL} if killed in ("server", "both") else set())
    assert plan.seen
    reference = Attempt(killable_server.url, corpus.after, whole)
    reference.run()
    with Attempt(killable_server.url, corpus.after, broken).open() as collection, reference.open() as expected:
        assert contents(collection) == contents(expected)
        indexing = collection.info().indexing
        assert indexing is not None
        assert not indexing.deferred
