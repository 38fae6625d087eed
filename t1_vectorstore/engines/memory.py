"""The ``:memory:`` engine: the client library's local mode, which is not thread-safe, behind a lock."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

from qdrant_client import QdrantClient

from t1_vectorstore.engines.base import EngineKind, WithoutOptimizer
from t1_vectorstore.engines.client import ClientEngine, vector_params
from t1_vectorstore.engines.schema import Expected
from t1_vectorstore.errors import CollectionNotFound, StoreError
from t1_vectorstore.types import LoadRecord


class MemoryEngine(WithoutOptimizer, ClientEngine):
    """A collection that lives and dies with this object: for tests and for small things."""

    kind: EngineKind = "memory"

    def __init__(self, expected: Expected) -> None:
        """Create an empty collection.

        Raises:
            CollectionNotFound: no identity is given; memory holds nothing to find.
            ValueError: a way of storage is asked for.
        """
        if expected.identity is None:
            raise CollectionNotFound("':memory:' always starts empty: there is no collection to open without a model")
        schema = replace(expected.new_schema(), by_document=False)  # the library has no indexes in local mode
        if asked := list(schema.storage.changed()):
            raise ValueError(f"':memory:' keeps points in one way only and has no storage.{asked[0]}; leave it out")
        super().__init__(schema.name, schema)
        self._lock = threading.Lock()
        self._client: QdrantClient | None = QdrantClient(":memory:")
        self._client.create_collection(schema.name, **vector_params(schema))

    def disk_bytes(self) -> None:
        """Nothing is on disk."""
        return

    def latest_load(self) -> LoadRecord | None:
        """What was noted last."""
        return self.schema.load

    def note_load(self, load: LoadRecord) -> None:
        """Remember a load."""
        self.schema = replace(self.schema, load=load)

    def close(self) -> None:
        """Forget everything."""
        with self._lock:
            client, self._client = self._client, None
            if client is not None:
                client.close()

    def _call(self, verb: str, **arguments: Any) -> Any:  # noqa: ANN401 - what the client's method returns
        with self._lock:
            if self._client is None:
                raise StoreError("the collection in memory is closed")
            return getattr(self._client, verb)(self._name, **arguments)
