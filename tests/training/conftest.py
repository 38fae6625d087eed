from __future__ import annotations

from pathlib import Path

import pytest

from t1_vectorstore.demo.factbook import World, read_world
from tests.training import small_factbook, small_recipes


@pytest.fixture(scope="session")
def factbook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small factbook on disk."""
    return small_factbook.write(tmp_path_factory.mktemp("factbook") / "countries.jsonl.gz")


@pytest.fixture(scope="session")
def world(factbook: Path) -> World:
    """Its facts."""
    return read_world(factbook)


@pytest.fixture(scope="session")
def chains(factbook: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Training data made of it."""
    return small_recipes.built(factbook, tmp_path_factory.mktemp("chains") / "data")
