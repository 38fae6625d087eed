"""Fixtures: a model and a collection for loads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from t1_vectorstore.collection import Collection
from t1_vectorstore.embedding.embedder import T1Embedder


@pytest.fixture
def embedder() -> T1Embedder:
    return T1Embedder.fake(16)


@pytest.fixture
def collection(request: pytest.FixtureRequest, tmp_path: Path, embedder: T1Embedder) -> Iterator[Collection]:
    """Open a collection in memory. All engines behave alike, so few tests also use the slower one on disk."""
    location = tmp_path / "index" if getattr(request, "param", None) == "embedded" else ":memory:"
    with Collection.open(location, identity=embedder.identity) as opened:
        yield opened
