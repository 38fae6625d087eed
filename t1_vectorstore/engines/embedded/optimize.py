"""A graph for a large embedded index, built in another process: the library holds the interpreter while it works.

A copy of the engine's files is optimised beside them, and one atomic write of the description then names the copy. The
index itself answers searches meanwhile and is not touched, so whatever is killed, it is the old one or the new one.

    t1.json            names the engine's files: "shard": "shard-3f2a..."
    shard-3f2a.../     the copy; files that no description names were left by a crash, and the next run deletes them
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

from t1_vectorstore.engines.embedded.builds import PREVIOUS
from t1_vectorstore.engines.embedded.folder import SHARD_KEY, IndexFolder
from t1_vectorstore.engines.schema import MOVED_FORMAT
from t1_vectorstore.errors import StoreError

_BLOCK = 2**20
_CHILD = """
import sys, qdrant_edge
shard = qdrant_edge.EdgeShard.load(sys.argv[1])
shard.optimize()
shard.close()
"""


def copy_shard(folder: IndexFolder) -> Path:
    """A copy of the engine's files, which nobody writes to meanwhile; what earlier runs left behind is deleted."""
    shard, record = folder.shard, folder.record()
    used = {shard}
    if isinstance(previous := record.get(PREVIOUS), dict):
        used.add(folder.path / previous.get(SHARD_KEY, "shard"))
    for left in set(shard.parent.glob("shard*")) - used:
        shutil.rmtree(left)
    folder.demand_space(folder.disk_bytes() // 2)
    copy = shard.with_name(f"shard-{uuid.uuid4().hex}")
    shutil.copytree(shard, copy, copy_function=_copy_sparsely)
    return copy


def optimize_copy(copy: Path) -> None:
    """Build the graph, and quantise if the index is to be; takes about a minute for 100,000 vectors.

    Raises:
        StoreError: the process failed; the copy is deleted.
    """
    done = subprocess.run([sys.executable, "-c", _CHILD, str(copy)], capture_output=True, text=True, check=False)
    if done.returncode:
        shutil.rmtree(copy, ignore_errors=True)
        words = done.stderr.strip().splitlines()[-1:] or [f"it ended with {done.returncode}"]
        raise StoreError(f"the index in {copy.parent} could not be optimised and stays as it was: {words[0]}")


def adopt_copy(folder: IndexFolder, copy: Path) -> None:
    """Make the copy the index, whose engine is closed, and delete the files it was made from."""
    former = folder.shard
    record = {**folder.record(), "format": MOVED_FORMAT, SHARD_KEY: copy.relative_to(folder.path).as_posix()}
    folder.describe(record)
    folder.schema()  # takes note of where the files are
    shutil.rmtree(former)


def _copy_sparsely(source: str, target: str) -> None:
    """The engine's files are mostly holes; a plain copy would fill them."""
    with Path(source).open("rb") as reader, Path(target).open("wb") as writer:
        while block := reader.read(_BLOCK):
            if block.count(0) == len(block):
                writer.seek(len(block), os.SEEK_CUR)
            else:
                writer.write(block)
        writer.truncate()
        writer.flush()
        os.fsync(writer.fileno())
