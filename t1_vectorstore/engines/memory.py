"""The ``:memory:`` engine: the client library's local mode, which is not thread-safe, behind a lock."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from qdrant_client import QdrantClient

from t1_vectorstore.engines.base import EngineKind
from t1_vectorstore.engines.client import ClientEngine, vector_params
from t1_vectorstore.engines.schema import OpenOptions
from t1_vectorstore.errors import CollectionNotFound, StoreError
from t1_vectorstore.forks import ForkSafeLock
from t1_vectorstore.types import LoadRecord


class MemoryEngine(ClientEngine):
    """A collection that exists as long as this object, for tests and small data."""

    kind: EngineKind = "memory"

    def __init__(self, options: OpenOptions) -> None:
        """Create an empty collection.

        Raises:
            CollectionNotFound: No identity is given; there is nothing to open in memory.
            ValueError: A storage option is given.
        """
        if options.identity is None:
            raise CollectionNotFound("':memory:' always starts empty: there is no collection to open without a model")
        # Local mode has no indexes: a filter on documents would read every point.
        self.schema = replace(options.new_schema(), by_document=False)
        if given := list(self.schema.storage.changed()):
            raise ValueError(f"':memory:' has no storage options; leave storage.{given[0]} out")
        self._lock = ForkSafeLock()
        self._client: QdrantClient | None = QdrantClient(":memory:")
        self._client.create_collection(self.schema.name, **vector_params(self.schema))

    def latest_load(self) -> LoadRecord | None:
        """Return the record that was noted last."""
        return self.schema.load

    def note_load(self, load: LoadRecord) -> None:
        """Store the record of a load."""
        self.schema = replace(self.schema, load=load)

    def close(self) -> None:
        """Free the memory."""
        with self._lock:
            client, self._client = self._client, None
            if client is not None:
                client.close()

    def _call(self, method: str, **arguments: Any) -> Any:  # noqa: ANN401 - what the client's method returns
        with self._lock:
            if self._client is None:
                raise StoreError("the collection in memory is closed")
            return getattr(self._client, method)(self.schema.name, **arguments)
