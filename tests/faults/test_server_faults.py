"""A server behind a network that fails, which dies as its clients do: loads end in exactly the same collection."""

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
from tests.faults.attempt import Attempt, draw_deaths
from tests.faults.corpus import draw
from tests.faults.proxy import Fault, Plan, proxy
from tests.faults.state import contents

pytestmark = pytest.mark.faults


def hurry(seconds: float) -> None:
    """Waits need not be as long as with a server that is far away."""
    time.sleep(min(seconds, 0.1))


PATIENT = Retry(attempts=200, first_wait=0.02, longest_wait=0.1, sleep=hurry)
PROTOCOLS: dict[str, dict[str, Any]] = {"grpc": {}, "rest": {"grpc_port": CLOSED_PORT}}


@pytest.fixture
def names(mortal_server: LocalServer) -> Iterator[tuple[str, str]]:
    """Two names that no collection has; what is made under them is removed."""
    two = f"broken-{uuid.uuid4().hex}", f"whole-{uuid.uuid4().hex}"
    yield two
    admin = QdrantClient(url=mortal_server.url, check_compatibility=False, timeout=30)
    for name in two:
        admin.delete_collection(name)
    admin.close()


@pytest.mark.parametrize("killed", ["nobody", "client", "server", "both"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("seed", range(13))
def test_a_load_through_faults_is_completed(
    mortal_server: LocalServer, names: tuple[str, str], seed: int, protocol: str, killed: str
) -> None:
    random, corpus = Random(f"{seed} {protocol} {killed}"), draw(seed)
    options = {"retry": PATIENT, **PROTOCOLS[protocol]}
    broken, whole = ({**options, "name": name} for name in names)
    Attempt(mortal_server.url, corpus.before, broken).run()
    plan = Plan(random.getrandbits(32), mortal_server.restart if killed in ("server", "both") else None)
    deaths = draw_deaths(random) if killed in ("client", "both") else []
    with proxy(mortal_server.port, plan) as url:
        through = Attempt(url, corpus.after, broken)
        ended = [through.in_a_process(death) for death in deaths]
        assert not all(ended) or not deaths, "no load was killed: this run shows nothing"
        assert through.in_a_process()
    assert plan.seen.keys() >= ({Fault.KILL} if killed in ("server", "both") else set())
    assert plan.seen
    reference = Attempt(mortal_server.url, corpus.after, whole)
    reference.run()
    with Attempt(mortal_server.url, corpus.after, broken).open() as collection, reference.open() as expected:
        assert contents(collection) == contents(expected)
        indexing = collection.info().indexing
        assert indexing is not None
        assert not indexing.deferred
