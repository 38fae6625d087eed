"""Functions that create what workers open, and that can be sent to them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from pathlib import Path

from t1_vectorstore.collection import Collection
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.errors import BackendError
from t1_vectorstore.types import Point

DIMENSION = 16


def fake_embedder() -> T1Embedder:
    return T1Embedder.fake(DIMENSION, truncation="allow")


def failing_embedder() -> T1Embedder:
    raise BackendError("no memory for this model")


def collection(url: str, name: str) -> Collection:
    return Collection.open(url, name=name, identity=fake_embedder().identity)


def deadly_collection(
    url: str, name: str, deaths: Path, times: int, *, write: int = 3, before: bool = False
) -> Collection:
    """Open a collection whose write number ``write`` kills its process, ``times`` times over all processes."""
    opened = collection(url, name)
    original, writes = opened.write, 0

    def counted(points: Iterable[Point]) -> int:
        nonlocal writes
        writes += 1
        deadly = writes == write and claim_death(deaths, times)
        stored = 0 if deadly and before else original(points)
        if deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return stored

    opened.write = counted  # type: ignore[method-assign]
    return opened


def claim_death(deaths: Path, times: int) -> bool:
    """Return whether fewer than ``times`` processes have died. Each death is a file, which only one can create."""
    for number in range(times):
        try:
            (deaths / str(number)).touch(exist_ok=False)
        except FileExistsError:
            continue
        return True
    return False
