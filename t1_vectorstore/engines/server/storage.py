"""How a server is to keep a collection, in its own terms; what it could not do is refused before anything is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qdrant_client import models

from t1_vectorstore.engines.base import OVERSAMPLING
from t1_vectorstore.errors import StoreError
from t1_vectorstore.options import Storage


def storage_arguments(storage: Storage) -> dict[str, Any]:
    """The arguments of ``create_collection`` beside those that say which vectors there are."""
    graph = models.HnswConfigDiff(m=storage.m, ef_construct=storage.ef_construct)
    return {
        "on_disk_payload": storage.payload_on_disk,
        "quantization_config": _quantization(storage),
        "hnsw_config": graph if storage.m or storage.ef_construct else None,
        "shard_number": storage.shards,
        "replication_factor": storage.replicas,
        "write_consistency_factor": storage.write_consistency,
        "sharding_method": models.ShardingMethod.CUSTOM if storage.shard_keys else None,
    }


def search_params(storage: Storage) -> models.SearchParams | None:
    """How to search by smaller copies of the vectors, where there are any."""
    if storage.quantization is None:
        return None
    rescored = models.QuantizationSearchParams(rescore=True, oversampling=OVERSAMPLING[storage.quantization])
    return models.SearchParams(quantization=rescored)


def check_cluster(storage: Storage, status: Callable[[], models.ClusterStatus], where: str) -> None:
    """Refuse what needs more machines than there are: a server would take it, and never do it.

    Args:
        storage: what is asked for.
        status: asks the server for its cluster.
        where: names the server.

    Raises:
        StoreError: it is no cluster, or too small a one.
    """
    replicas = storage.replicas or 1
    if replicas == 1 and not storage.shard_keys:
        return
    what = f"storage.replicas={replicas}" if replicas > 1 else f"storage.shard_keys={list(storage.shard_keys)}"
    found = status()
    if not isinstance(found, models.ClusterStatusOneOf1):
        raise StoreError(f"{where} is a single server, and {what} is for a cluster; start it with clustering enabled")
    if len(found.peers) < replicas:
        raise StoreError(f"{where} is a cluster of {len(found.peers)}, too small for {what}")


def _quantization(storage: Storage) -> Any:  # noqa: ANN401 - one of the client's kinds
    if storage.quantization == "int8":
        scalar = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True)
        return models.ScalarQuantization(scalar=scalar)
    if storage.quantization == "binary":
        return models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True))
    return None
