"""Opening a server's collection over REST: it is found, or created, and completed if its creation was interrupted."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar

from qdrant_client import QdrantClient, models

from t1_vectorstore.engines.client import found_schema, vector_params
from t1_vectorstore.engines.schema import OWN_KEY, OpenOptions, Schema
from t1_vectorstore.engines.server.retry import with_retries
from t1_vectorstore.errors import CollectionNotFound, StoreError, StoreUnavailable
from t1_vectorstore.options import Retry, Storage

_Result = TypeVar("_Result")
_Indexed: TypeAlias = Mapping[str, models.PayloadIndexInfo]

# Features, and the server version that introduced them. Earlier versions ignore them, and answer something else.
Feature: TypeAlias = tuple[str, tuple[int, ...]]
STORE_METADATA: Feature = ("store metadata", (1, 16))  # create_collection(metadata=)
FUSE_BY_RANK: Feature = ("fuse rankings with a given k", (1, 16))  # Rrf(k=)
DIVERSITY: Feature = ("choose diverse hits", (1, 15))  # Mmr
WORDS: Feature = ("find words without a text index", (1, 19, 1))  # MatchText


class Opening:
    """Opens one collection. If it exists and is complete, this takes two calls."""

    def __init__(self, client: QdrantClient, url: str, options: OpenOptions, retry: Retry) -> None:
        """Open with a REST client; ``url`` names the server in errors."""
        self._client = client
        self._url = url
        self._options = options
        self._retry = retry
        self.index_kinds: dict[str, str] = {}
        """Kinds of the collection's payload indexes, by payload path: those that exist, whoever created them."""

    def open(self) -> tuple[str, Schema]:
        """Find or create the collection.

        Returns:
            The collection's own name, which is another one than the given name if that is an alias, and its schema.

        Raises:
            CollectionNotFound: It does not exist, and may not be created.
            CollectionMismatch: It was created with other options, or for another model.
            StoreError: The server is too old to create it, or is not the cluster that it needs.
        """
        name = self._resolve_alias(self._options.name)
        if self._options.recreate:
            self._drop(name)
        found = self._find(name)
        if found is None and not self._options.may_create:
            raise CollectionNotFound(f"{self._url} has no collection {name!r}")
        schema, indexed = found or self._create(name)
        schema = self._options.reconcile(schema, self._where(name))
        if not self._options.read_only:
            self._complete(name, schema, indexed)
        declared = {path: kind for path, (kind, _) in schema.payload_indexes.items()}
        self.index_kinds = {**declared, **{path: index.data_type.value for path, index in indexed.items()}}
        return name, schema

    def _drop(self, name: str) -> None:
        """Delete the collection, unless it was named by an alias, which would be deleted as well."""
        if name != self._options.name:
            raise StoreError(
                f"the alias {self._options.name!r} leads to {self._where(name)}, which is not deleted; name the "
                "collection itself"
            )
        self._call(lambda: self._client.delete_collection(name))

    def _where(self, name: str) -> str:
        return f"the collection {name!r} at {self._url}"

    def _call(self, call: Callable[[], _Result]) -> _Result:
        return with_retries(call, self._retry, self._url)

    def _resolve_alias(self, name: str) -> str:
        """Return the collection of an alias, or the name itself if it is not an alias.

        An alias can be moved to a collection of another model at any time. Open connections keep using the collection
        that they have opened, whose vectors are their model's.
        """
        try:
            aliases = self._call(self._client.get_aliases).aliases
        except StoreUnavailable:
            raise
        except StoreError:  # an API key for a single collection may not list them
            return name
        return next((alias.collection_name for alias in aliases if alias.alias_name == name), name)

    def _find(self, name: str) -> tuple[Schema, _Indexed] | None:
        """Return the collection's schema and the payload indexes; ``None`` if it does not exist."""
        try:
            found = self._call(lambda: self._client.get_collection(name))
        except CollectionNotFound:
            return None
        return found_schema(found, self._options, self._where(name)), found.payload_schema

    def _create(self, name: str) -> tuple[Schema, _Indexed]:
        """Create the collection; if another process is faster, return the one that it has created."""
        check_version(STORE_METADATA, self._call(self._client.info).version, self._url)
        schema = self._options.new_schema()
        self._check_cluster(schema.storage)
        creation = self._options.creation
        arguments = {**vector_params(schema, creation), **_storage_arguments(schema.storage)}
        arguments |= creation.collection if creation else {}
        metadata = {OWN_KEY: schema.to_json()}
        try:
            self._call(lambda: self._client.create_collection(name, metadata=metadata, **arguments))
        except StoreError:
            if (found := self._find(name)) is not None:
                return found
            raise
        return schema, {}

    def _complete(self, name: str, schema: Schema, indexed: _Indexed) -> None:
        """Create the shards and payload indexes that are missing, here or after a creation that was interrupted.

        Indexes are created after the shards, so where all indexes exist, the shards need not be looked up.
        """
        wanted = schema.payload_indexes
        missing = {path: index for path, index in wanted.items() if path not in indexed}
        if schema.storage.shard_keys and (missing or not wanted):
            found = self._call(lambda: self._client.collection_cluster_info(name))
            existing = {shard.shard_key for shard in found.local_shards}
            existing |= {shard.shard_key for shard in found.remote_shards}
            for key in schema.storage.shard_keys:
                if key not in existing:
                    self._call(lambda: self._client.create_shard_key(name, key))  # noqa: B023 - called at once
        for path, (kind, is_tenant) in missing.items():
            by_tenant = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True)
            params = by_tenant if is_tenant else models.PayloadSchemaType(kind)
            self._call(lambda: self._client.create_payload_index(name, path, params, wait=True))  # noqa: B023

    def _check_cluster(self, storage: Storage) -> None:
        """Refuse storage that needs more servers than there are: Qdrant would accept it and never do it."""
        replicas = storage.replicas or 1
        if replicas == 1 and not storage.shard_keys:
            return
        wanted = f"storage.replicas={replicas}" if replicas > 1 else f"storage.shard_keys={list(storage.shard_keys)}"
        found = self._call(self._client.cluster_status)
        if not isinstance(found, models.ClusterStatusOneOf1):
            raise StoreError(
                f"{self._url} is a single server, and {wanted} is for a cluster; start it with clustering enabled"
            )
        if len(found.peers) < replicas:
            raise StoreError(f"{self._url} is a cluster of {len(found.peers)}, too small for {wanted}")


def check_version(feature: Feature, version: str, url: str) -> None:
    """Refuse a feature that a server is too old for; a version that cannot be parsed, of a local build, is accepted."""
    if is_too_old(feature, version):
        what, since = feature
        raise StoreError(
            f"{url} runs Qdrant {version}, which cannot {what}; version {'.'.join(map(str, since))} or later can"
        )


def is_too_old(feature: Feature, version: str) -> bool:
    """Return whether a server of a version lacks a feature; one whose version cannot be parsed is a local build."""
    numbers = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", version)
    return numbers is not None and tuple(int(number or 0) for number in numbers.groups()) < feature[1]


def _storage_arguments(storage: Storage) -> dict[str, Any]:
    """Return the arguments of ``create_collection`` about how the points are stored."""
    quantization: Any = None
    if storage.quantization == "int8":
        scalar = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True)
        quantization = models.ScalarQuantization(scalar=scalar)
    elif storage.quantization == "binary":
        quantization = models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True))
    graph = models.HnswConfigDiff(m=storage.m, ef_construct=storage.ef_construct)
    return {
        "on_disk_payload": storage.payload_on_disk,
        "quantization_config": quantization,
        "hnsw_config": graph if storage.m or storage.ef_construct else None,
        "shard_number": storage.shards,
        "replication_factor": storage.replicas,
        "write_consistency_factor": storage.write_consistency,
        "sharding_method": models.ShardingMethod.CUSTOM if storage.shard_keys else None,
    }
