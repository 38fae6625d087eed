"""Building the graph of a large embedded index, in another process: the library holds the GIL while it works.

A copy of the engine's files is optimised, and one atomic write of the description then names the copy. Meanwhile the
index answers searches and is not changed, so that a crash leaves the old files in use or the new ones.

    t1.json            the description names the engine's files: "shard": "shard-3f2a..."
    shard-3f2a.../     the copy; the next run deletes files that no description names, which a crash has left
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

from t1_vectorstore.engines.embedded.builds import PREVIOUS
from t1_vectorstore.engines.embedded.copies import copy_sparsely
from t1_vectorstore.engines.embedded.folder import SHARD_KEY, IndexFolder, replace_record, shard_of
from t1_vectorstore.engines.schema import MOVED_FORMAT
from t1_vectorstore.errors import StoreError

_CHILD = """
import sys, qdrant_edge
shard = qdrant_edge.EdgeShard.load(sys.argv[1])
shard.optimize()
shard.close()
"""


def copy_shard(folder: IndexFolder) -> Path:
    """Copy the engine's files, which must not change meanwhile, and delete the unused files of earlier runs."""
    # 1. Delete the files that no description names.
    shard, record = folder.shard, folder.own_record()
    used = {shard}
    if isinstance(previous := record.get(PREVIOUS), dict):
        used.add(folder.path / shard_of(previous))
    for unused in set(shard.parent.glob("shard*")) - used:
        shutil.rmtree(unused)
    # 2. Copy the files in use.
    folder.check_space(folder.disk_bytes() // 2)
    copy = shard.with_name(f"shard-{uuid.uuid4().hex}")
    shutil.copytree(shard, copy, copy_function=_copy_durably)
    return copy


def optimize_copy(copy: Path) -> None:
    """Build the graph, and quantise the vectors if the index asks for it; if this fails, delete the copy."""
    done = subprocess.run([sys.executable, "-c", _CHILD, str(copy)], capture_output=True, text=True, check=False)
    if done.returncode:
        shutil.rmtree(copy, ignore_errors=True)
        reason = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise StoreError(f"the index in {copy.parent} could not be optimised and is unchanged: {reason[0]}")


def use_copy(folder: IndexFolder, copy: Path) -> None:
    """Use the copy for the index, whose engine must be closed, and delete the former files."""
    former = folder.shard
    record = folder.own_record()
    record |= {"format": max(MOVED_FORMAT, record["format"]), SHARD_KEY: copy.relative_to(folder.path).as_posix()}
    folder.write_record(record)
    folder.find_shard(record)
    if copy.parent != folder.path:  # a build has a description of its own, with which a later reindex opens it
        build = IndexFolder.read_record(copy.parent)
        replace_record(copy.parent, {**build, "format": record["format"], SHARD_KEY: copy.name})
    shutil.rmtree(former)


def _copy_durably(source: str, target: str) -> None:
    copy_sparsely(source, target)
    with Path(target).open("rb+") as copied:
        os.fsync(copied.fileno())
