"""The files of a shard of the embedded engine, with the settings that a collection's description asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qdrant_edge as edge

from t1_vectorstore.engines.schema import Schema
from t1_vectorstore.errors import StoreError
from t1_vectorstore.options import Storage
from t1_vectorstore.types import IndexKind

_INDEXES: dict[IndexKind, edge.PayloadSchemaType] = {
    "keyword": edge.PayloadSchemaType.Keyword,
    "integer": edge.PayloadSchemaType.Integer,
    "float": edge.PayloadSchemaType.Float,
    "bool": edge.PayloadSchemaType.Bool,
    "datetime": edge.PayloadSchemaType.Datetime,
    "text": edge.PayloadSchemaType.Text,
}
_CLUSTER_OPTIONS = ("shards", "replicas", "write_consistency", "shard_keys")
_M, _EF_CONSTRUCT, _FULL_SCAN_KB = 16, 100, 10_000  # the library's defaults, which it does not fill in


def check_storage(storage: Storage) -> None:
    """Refuse options that are for clusters."""
    if wrong := [name for name in storage.changed() if name in _CLUSTER_OPTIONS]:
        raise ValueError(f"an index in a folder has no storage.{wrong[0]}, which is for a cluster of Qdrant servers")


def create_shard(path: Path, schema: Schema) -> None:
    """Create an empty shard, with its payload indexes."""
    shard = edge.EdgeShard.create(str(path), _config(schema))
    for field, (kind, is_tenant) in schema.payload_indexes.items():
        index = edge.KeywordIndexParams(is_tenant=True) if is_tenant else _INDEXES[kind]
        shard.update(edge.UpdateOperation.create_field_index(field, index))
    shard.close()


def unpack_shard(snapshot: Path, folder: Path, schema: Schema) -> None:
    """Unpack a server's shard snapshot, which has the same format, into an empty folder."""
    try:
        edge.EdgeShard.unpack_snapshot(str(snapshot), str(folder))
        edge.EdgeShard.load(str(folder), _config(schema)).close()  # writes the settings
    except Exception as error:
        raise StoreError(f"the embedded engine cannot open the shard snapshot: {error}") from error


def _config(schema: Schema) -> edge.EdgeConfig:
    storage = schema.storage
    quantization: Any = None
    if storage.quantization == "int8":
        quantization = edge.ScalarQuantizationConfig(edge.ScalarType.Int8, memory=edge.Memory.Pinned)
    elif storage.quantization == "binary":
        quantization = edge.BinaryQuantizationConfig(memory=edge.Memory.Pinned)
    graph = None
    if storage.m is not None or storage.ef_construct is not None:
        graph = edge.HnswIndexConfig(storage.m or _M, storage.ef_construct or _EF_CONSTRUCT, _FULL_SCAN_KB)
    memory = edge.Memory.Cold if storage.on_disk else None
    dense = edge.EdgeVectorParams(schema.identity.dimension, edge.Distance.Cosine, memory=memory)
    terms = edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf if schema.words == "bm25" else None)
    return edge.EdgeConfig(
        vectors={schema.vector_name: dense} if schema.vector_name else dense,
        sparse_vectors={schema.sparse_vector_name: terms} if schema.hybrid else None,
        hnsw_config=graph,
        quantization_config=quantization,
        payload_memory=edge.Memory.Cached if storage.payload_on_disk is False else None,
        wal_enabled=True,
    )
