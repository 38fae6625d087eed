"""A base, and an adapter of it that each test may change."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.adapters.files import save_adapter, save_base, save_merged


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def saved(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_adapter(tmp_path_factory.mktemp("adapter") / "adapter", base)


@pytest.fixture(scope="session")
def merged(base: Path, saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model that adapter and base are together."""
    return save_merged(tmp_path_factory.mktemp("merged") / "merged", base, saved)


@pytest.fixture
def adapter(saved: Path, tmp_path: Path) -> Path:
    """A copy of the adapter, which the test may change."""
    return Path(shutil.copytree(saved, tmp_path / "adapter"))
