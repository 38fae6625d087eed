"""Replacing an embedded index by another build: it is filled in the index's folder and takes over in one atomic write.

    t1.json                 the description names the build's files, "shard": "builds/3f2a.../shard", and has the whole
                            description of the replaced index under "previous"
    builds/3f2a.../         a folder like that of an index
    shard/                  the files of the first build, until the previous build is deleted

The index's lock is held meanwhile. A crash leaves the old description or the new one.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from t1_vectorstore.engines.embedded.folder import SHARD_KEY, IndexFolder, shard_of
from t1_vectorstore.engines.schema import MOVED_FORMAT
from t1_vectorstore.errors import StoreError

BUILDS = "builds"
PREVIOUS = "previous"


def build_path(index: Path, name: str) -> Path:
    """Return the folder of a build, which can be opened as an index."""
    return index / BUILDS / name


def current_build(index: Path) -> str | None:
    """Return the name of the build in use; ``None`` for the first one."""
    return _build_name(IndexFolder.read_record(index))


def switch(folder: IndexFolder, name: str) -> None:
    """Use a build, which must be closed; the build in use until now becomes the previous one."""
    build = IndexFolder.read_record(build_path(folder.path, name))
    place = f"{BUILDS}/{name}/{shard_of(build)}"
    moved = {**build, "format": max(MOVED_FORMAT, build["format"]), SHARD_KEY: place}
    folder.write_record({**moved, PREVIOUS: _without_previous(folder.own_record())})


def roll_back(folder: IndexFolder) -> None:
    """Exchange the build in use and the previous one, which must exist."""
    record = folder.own_record()
    previous = record.get(PREVIOUS)
    if not isinstance(previous, dict):
        raise StoreError(f"the index in {folder.path} has no previous build")
    folder.write_record({**previous, PREVIOUS: _without_previous(record)})


def drop_others(folder: IndexFolder) -> list[str]:
    """Delete the files of all builds but the one in use, also unfinished ones; return what was deleted."""
    record = folder.own_record()
    folder.write_record(_without_previous(record))  # first, so that no description names deleted files
    kept = _build_name(record)
    others = sorted(folder.path.glob("shard*")) if kept is not None else []
    builds = folder.path / BUILDS
    others += [build for build in sorted(builds.iterdir()) if build.name != kept] if builds.exists() else []
    for other in others:
        shutil.rmtree(other)
    return [str(other.relative_to(folder.path)) for other in others]


def _without_previous(record: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != PREVIOUS}


def _build_name(record: Mapping[str, Any]) -> str | None:
    parts = PurePosixPath(str(record.get(SHARD_KEY, ""))).parts
    return parts[1] if len(parts) > 1 and parts[0] == BUILDS else None
