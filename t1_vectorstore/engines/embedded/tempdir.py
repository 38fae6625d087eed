"""Temporary folders for large files. A folder that a killed process left behind is removed by the next call."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from t1_vectorstore.engines.embedded.locks import lock
from t1_vectorstore.errors import CollectionLocked

_PREFIX, _LOCK = ".t1-scratch-", "lock"


@contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """Create a temporary folder in ``parent``, and so on its disk, for the length of a ``with`` block.

    A process that is forked within the block leaves the folder to its parent.
    """
    owner = os.getpid()
    for left_over in parent.glob(f"{_PREFIX}*"):
        _remove_if_abandoned(left_over)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    held = lock(folder / _LOCK)
    try:
        yield folder
    finally:
        held.close()
        if os.getpid() == owner:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_if_abandoned(folder: Path) -> None:
    if not (folder / _LOCK).is_file():  # another process is creating it
        return
    try:
        lock(folder / _LOCK).close()
    except (CollectionLocked, OSError):  # in use
        return
    shutil.rmtree(folder, ignore_errors=True)
