"""An empty shard of the embedded engine, as a collection's description wants it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qdrant_edge as edge

from t1_vectorstore.engines.base import SPARSE
from t1_vectorstore.engines.schema import Schema
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
_OF_CLUSTERS = ("shards", "replicas", "write_consistency", "shard_keys")
_M, _EF_CONSTRUCT, _FULL_SCAN_KB = 16, 100, 10_000  # the library's own


def check_storage(storage: Storage) -> None:
    """Refuse what is for clusters.

    Raises:
        ValueError: such an option is given.
    """
    if wrong := [name for name in storage.changed() if name in _OF_CLUSTERS]:
        raise ValueError(f"an index in a folder has no storage.{wrong[0]}; that is for a cluster of Qdrant servers")


def create_shard(path: Path, schema: Schema) -> None:
    """Write the files of an empty shard, with its payload indexes."""
    shard = edge.EdgeShard.create(str(path), shard_config(schema))
    for field, (kind, tenant) in schema.payload_indexes.items():
        index = edge.KeywordIndexParams(is_tenant=True) if tenant else _INDEXES[kind]
        shard.update(edge.UpdateOperation.create_field_index(field, index))
    shard.close()


def shard_config(schema: Schema) -> edge.EdgeConfig:
    """The engine's settings for a collection."""
    storage = schema.storage
    params = edge.EdgeVectorParams(
        schema.identity.dimension, edge.Distance.Cosine, memory=edge.Memory.Cold if storage.on_disk else None
    )
    terms = {SPARSE: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)} if schema.hybrid else None
    return edge.EdgeConfig(
        vectors=params,
        sparse_vectors=terms,
        hnsw_config=_graph(storage),
        quantization_config=_quantization(storage),
        payload_memory=edge.Memory.Cached if storage.payload_on_disk is False else None,
        wal_enabled=True,
    )


def _graph(storage: Storage) -> edge.HnswIndexConfig | None:
    if storage.m is None and storage.ef_construct is None:
        return None
    return edge.HnswIndexConfig(storage.m or _M, storage.ef_construct or _EF_CONSTRUCT, _FULL_SCAN_KB)


def _quantization(storage: Storage) -> Any:  # noqa: ANN401 - one of the library's kinds
    if storage.quantization == "int8":
        return edge.ScalarQuantizationConfig(edge.ScalarType.Int8, memory=edge.Memory.Pinned)
    return edge.BinaryQuantizationConfig(memory=edge.Memory.Pinned) if storage.quantization else None
