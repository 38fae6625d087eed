"""Room for large files that are needed for a while, which also a process that is killed does not take up for ever."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from t1_vectorstore.engines.embedded.folder import lock
from t1_vectorstore.errors import CollectionLocked

_PREFIX, _LOCK = ".t1-scratch-", "lock"


@contextmanager
def scratch(beside: Path) -> Iterator[Path]:
    """A folder for a while, on the same disk as what is made of it; those that dead processes left are removed."""
    for left in beside.glob(f"{_PREFIX}*"):
        _remove_if_abandoned(left)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=beside))
    held = lock(folder / _LOCK)
    try:
        yield folder
    finally:
        held.close()
        shutil.rmtree(folder, ignore_errors=True)


def _remove_if_abandoned(folder: Path) -> None:
    if not (folder / _LOCK).is_file():  # not quite made yet
        return
    try:
        lock(folder / _LOCK).close()
    except (CollectionLocked, OSError):
        return
    shutil.rmtree(folder, ignore_errors=True)
