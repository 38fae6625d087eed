"""Another build in the place of an embedded index: beside the old one in its folder, then by one atomic write.

    t1.json                 now names the build: its description, "shard": "builds/3f2a.../shard", and under "previous"
                            the whole description of what it replaced
    builds/3f2a.../         a folder like that of an index, filled beside the old files
    shard/                  the files of the first build, until the previous one is dropped

The index's own lock is held all the while. A crash leaves the old description or the new one, and never half of each.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from t1_vectorstore.engines.embedded.folder import SHARD_KEY, IndexFolder
from t1_vectorstore.engines.schema import MOVED_FORMAT
from t1_vectorstore.errors import StoreError

BUILDS = "builds"
PREVIOUS = "previous"


def build_path(index: Path, name: str) -> Path:
    """Where the build of a name is made; open it as an index of its own."""
    return index / BUILDS / name


def current_build(index: Path) -> str | None:
    """The name of the build that an index is; ``None`` for its first files."""
    return _build_of(IndexFolder.read_record(index))


def switch(folder: IndexFolder, name: str) -> None:
    """Make the closed build of that name the index; what it was until now is kept as its previous build."""
    build = IndexFolder.read_record(build_path(folder.path, name))
    moved = {**build, "format": MOVED_FORMAT, SHARD_KEY: f"{BUILDS}/{name}/{build.get(SHARD_KEY, 'shard')}"}
    folder.describe({**moved, PREVIOUS: _without_previous(folder.record())})


def roll_back(folder: IndexFolder) -> None:
    """Exchange the index and its previous build.

    Raises:
        StoreError: there is no previous build.
    """
    record = folder.record()
    folder.describe({**_previous(folder, record), PREVIOUS: _without_previous(record)})


def drop_others(folder: IndexFolder) -> list[str]:
    """Delete the files of the previous build, and of builds that were never finished; says what was deleted."""
    record = folder.record()
    folder.describe(_without_previous(record))  # first: what a description names exists
    kept = _build_of(record)
    others = sorted(folder.path.glob("shard*")) if kept is not None else []
    builds = folder.path / BUILDS
    others += [build for build in sorted(builds.iterdir()) if build.name != kept] if builds.exists() else []
    for other in others:
        shutil.rmtree(other)
    return [str(other.relative_to(folder.path)) for other in others]


def _previous(folder: IndexFolder, record: Mapping[str, Any]) -> dict[str, Any]:
    previous = record.get(PREVIOUS)
    if not isinstance(previous, dict):
        raise StoreError(f"the index in {folder.path} has no previous build")
    return previous


def _without_previous(record: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != PREVIOUS}


def _build_of(record: Mapping[str, Any]) -> str | None:
    parts = PurePosixPath(str(record.get(SHARD_KEY, ""))).parts
    return parts[1] if len(parts) > 1 and parts[0] == BUILDS else None
