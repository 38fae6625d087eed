"""A server's shard snapshot becomes the files of an embedded index: both are the same engine's."""

from __future__ import annotations

from pathlib import Path

import qdrant_edge as edge

from t1_vectorstore.engines.embedded.shard import shard_config
from t1_vectorstore.engines.schema import Schema
from t1_vectorstore.errors import StoreError


def unpack_shard(snapshot: Path, folder: Path, schema: Schema) -> None:
    """Unpack a shard snapshot into an empty folder; from then on the shard is kept as the description says.

    Raises:
        StoreError: the engine cannot read it.
    """
    try:
        edge.EdgeShard.unpack_snapshot(str(snapshot), str(folder))
        edge.EdgeShard.load(str(folder), shard_config(schema)).close()
    except Exception as error:
        raise StoreError(f"the shard snapshot cannot be opened by the embedded engine: {error}") from error
