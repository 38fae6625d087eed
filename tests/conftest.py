"""Checkpoints that several tests share, and what all of them count on."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from recipes.t1_mini.countries import World, read_world
from tests.checkpoints import save_checkpoint
from tests.recipes import small_factbook

# A job that a script's shell puts into the background ignores it, and so would every process that the tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Where t1-small is installed, new indexes would have that model. Set here, since fixtures of modules run commands, too.
os.environ["T1_DEFAULT_MODEL"] = "t1-mini"

# An embedded index is flushed to disk when it is opened and closed; in memory that takes a quarter of the time.
_IN_MEMORY = Path("/dev/shm")
if _IN_MEMORY.is_dir() and os.access(_IN_MEMORY, os.W_OK) and shutil.disk_usage(_IN_MEMORY).free > 8 * 2**30:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_IN_MEMORY))


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the command's cache of this test apart from the user's and from that of other tests."""
    monkeypatch.setenv("T1_CACHE_DIR", str(tmp_path_factory.mktemp("cache", numbered=True) / "t1"))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Qwen3 that closes some of its thoughts itself."""
    return save_checkpoint(tmp_path_factory.mktemp("tiny"), closes=1.5)


@pytest.fixture(scope="session")
def factbook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small factbook on disk."""
    return small_factbook.write(tmp_path_factory.mktemp("factbook") / "countries.jsonl.gz")


@pytest.fixture(scope="session")
def world(factbook: Path) -> World:
    """The facts of the small factbook."""
    return read_world(factbook)


@pytest.fixture(scope="session")
def chains(factbook: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Training data made of the small factbook."""
    return small_factbook.build_chains(factbook, tmp_path_factory.mktemp("chains") / "data")
