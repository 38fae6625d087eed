"""Checkpoints that several tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.checkpoints import save_checkpoint


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Qwen3 that closes some of its thoughts itself."""
    return save_checkpoint(tmp_path_factory.mktemp("tiny"), closes=1.5)
