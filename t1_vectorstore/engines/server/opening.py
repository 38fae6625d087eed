"""A server's collection as it is opened: its description found, or the collection made with all that belongs to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from qdrant_client import QdrantClient, models

from t1_vectorstore.engines.client import vector_params
from t1_vectorstore.engines.schema import OWN_KEY, Expected, Schema
from t1_vectorstore.engines.server.features import demand
from t1_vectorstore.engines.server.retry import patiently, status_of
from t1_vectorstore.engines.server.storage import check_cluster, storage_arguments
from t1_vectorstore.errors import CollectionMismatch, CollectionNotFound, StoreError
from t1_vectorstore.options import Retry
from t1_vectorstore.types import LoadRecord, ModelIdentity

_Result = TypeVar("_Result")
NOTED_LOAD = "t1_load"
"""The key in a collection's metadata of what is remembered of the latest load."""


def noted_load(found: models.CollectionInfo) -> LoadRecord | None:
    """What a collection remembers of its latest load."""
    return LoadRecord.from_json((found.config.metadata or {}).get(NOTED_LOAD))


@dataclass(frozen=True, slots=True)
class Opening:
    """What is done over REST before a collection can be used.

    Attributes:
        client: speaks REST.
        where: names the server in errors.
        retry: how patient to be.
        expected: the collection wanted.
    """

    client: QdrantClient
    where: str
    retry: Retry
    expected: Expected

    def find(self) -> Schema | None:
        """The description of the collection, or ``None`` where there is no such collection."""
        name = self.expected.options.name
        try:
            found = self._patiently(lambda: self.client.get_collection(name))
        except CollectionNotFound as error:
            if status_of(error.__cause__) is None:
                raise
            return None
        where = f"the collection {name!r} at {self.where}"
        vectors = found.config.params.vectors
        if isinstance(vectors, dict) and "" in vectors:  # another spelling of the unnamed one: langchain-qdrant's
            vectors = vectors[""]
        if not isinstance(vectors, models.VectorParams):
            names = ", ".join(repr(name) for name in vectors or {}) or "none"
            raise CollectionMismatch(f"{where} has named vectors ({names}); this package uses the unnamed one")
        record = (found.config.metadata or {}).get(OWN_KEY)
        if record is None:
            identity = ModelIdentity("(not recorded)", "", vectors.size)
            schema = replace(self.expected.schema(identity), uid="")
        else:
            schema = Schema.from_json(record, f"the metadata of {where}")
            schema = replace(schema, name=name, load=noted_load(found))
        identity = replace(schema.identity, dimension=vectors.size)
        return replace(schema, identity=identity, distance=vectors.distance.value.lower())

    def create(self) -> Schema:
        """Create the collection; if another process is faster, take its.

        Raises:
            StoreError: the server is too old, or no cluster where one is needed.
        """
        demand("record whose vectors a collection holds", self._patiently(self.client.info).version, self.where)
        schema = self.expected.new_schema()
        check_cluster(schema.storage, lambda: self._patiently(self.client.cluster_status), self.where)
        arguments: dict[str, Any] = {**vector_params(schema), **storage_arguments(schema.storage)}
        metadata = {OWN_KEY: schema.to_json()}
        try:
            self._patiently(lambda: self.client.create_collection(schema.name, metadata=metadata, **arguments))
        except StoreError:
            if (found := self.find()) is not None:
                return found
            raise
        return schema

    def complete(self, schema: Schema) -> None:
        """Make what is still missing, also what whoever created the collection had no time for."""
        self._make_shards(schema)
        if not (wanted := schema.payload_indexes):
            return
        made = self._patiently(lambda: self.client.get_collection(schema.name)).payload_schema
        for path, (kind, tenant) in wanted.items():
            if path not in made:
                by_tenant = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True)
                params = by_tenant if tenant else models.PayloadSchemaType(kind)
                self._patiently(lambda: self.client.create_payload_index(schema.name, path, params, wait=True))  # noqa: B023

    def _make_shards(self, schema: Schema) -> None:
        if not (wanted := schema.storage.shard_keys):
            return
        found = self._patiently(lambda: self.client.collection_cluster_info(schema.name))
        made = {here.shard_key for here in found.local_shards} | {there.shard_key for there in found.remote_shards}
        for key in wanted:
            if key not in made:
                self._patiently(lambda: self.client.create_shard_key(schema.name, key))  # noqa: B023 - called at once

    def _patiently(self, call: Callable[[], _Result]) -> _Result:
        return patiently(call, self.retry, self.where)
