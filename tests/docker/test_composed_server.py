"""What the composition says to a server, said to a real one: its health check, its key, and the indexer's command."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.collection.conftest import absent
from tests.collection.qdrant_binary import cached
from tests.collection.qdrant_server import LocalServer, running_server

pytestmark = pytest.mark.server
SERVICES = yaml.safe_load((Path(__file__).parents[2] / "docker" / "compose.yaml").read_text("utf-8"))["services"]


@pytest.fixture(scope="module")
def locked() -> Iterator[LocalServer]:
    """A server that asks for a key."""
    if (binary := cached()) is None:
        absent("no Qdrant server to lock: run python -m tests.collection.qdrant_binary")
    with running_server(binary, QDRANT__SERVICE__API_KEY="sesame") as server:
        yield server


def healthy(port: int) -> bool:
    _, *command, script = SERVICES["qdrant"]["healthcheck"]["test"]
    script = script.replace("6333", str(port))
    return subprocess.run([*command, script], capture_output=True).returncode == 0


def test_the_health_check_sees_a_server_without_knowing_the_key(locked: LocalServer) -> None:
    assert healthy(locked.port)
    locked.kill()
    assert not healthy(locked.port)
    locked.start()


@pytest.mark.parametrize(("key", "code"), [("sesame", 0), ("wrong", 1), (None, 1)])
def test_the_indexer_takes_the_key_from_its_environment(
    locked: LocalServer, tmp_path: Path, key: str | None, code: int
) -> None:
    (tmp_path / "note.txt").write_text("Llamas live in the Andes.")
    places = {"/corpus": str(tmp_path), "http://qdrant:6333": locked.url}
    command = [places.get(word, word) for word in SERVICES["index"]["command"]]
    environment = {**os.environ, **({"QDRANT_API_KEY": key} if key else {})}
    ran = subprocess.run(
        [sys.executable, "-c", "from t1_vectorstore.cli import main; main()", *command],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == code, ran.stderr
    assert ("1 stored" in ran.stdout) == (code == 0)
    assert ("does not accept the API key" in ran.stderr) == (code == 1)
