"""Checkpoints that several tests share, and what all of them count on."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.checkpoints import save_checkpoint

# A job that a script's shell puts into the background ignores it, and so would every process that the tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Qwen3 that closes some of its thoughts itself."""
    return save_checkpoint(tmp_path_factory.mktemp("tiny"), closes=1.5)
