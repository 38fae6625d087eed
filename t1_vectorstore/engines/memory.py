"""The client library's local mode, which is not thread-safe, behind a lock: ``:memory:``, or a client of the caller."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

from qdrant_client import QdrantClient

from t1_vectorstore.engines.base import EngineKind, Nearest, Scored
from t1_vectorstore.engines.client import ClientEngine, client_location, found_schema, vector_params
from t1_vectorstore.engines.schema import OWN_KEY, OpenOptions, Schema
from t1_vectorstore.errors import CollectionNotFound, StoreError
from t1_vectorstore.forks import ForkSafeLock

_LOCKS: WeakKeyDictionary[QdrantClient, ForkSafeLock] = WeakKeyDictionary()
"""One lock for each client, for all collections over it."""


class MemoryEngine(ClientEngine):
    """A collection in local mode, for tests and small data. Without a given client, it lives as long as this object."""

    kind: EngineKind = "memory"

    def __init__(self, options: OpenOptions, client: QdrantClient | None = None) -> None:
        """Open or create the collection, in the caller's client or else in a new one, which is empty.

        Raises:
            CollectionNotFound: It does not exist, and may not be created.
            CollectionMismatch: It was created with other options, or for another model.
            ValueError: A storage option is given.
        """
        if client is None and options.identity is None:
            raise CollectionNotFound("':memory:' always starts empty: there is no collection to open without a model")
        if options.storage is not None and (given := list(options.storage.changed())):
            raise ValueError(f"':memory:' has no storage options; leave storage.{given[0]} out")
        self.write_lock = ForkSafeLock(reentrant=True)
        self._owned = client is None
        self._client: QdrantClient | None = client or QdrantClient(":memory:")
        self._location = client_location(self._client)
        self._lock = _LOCKS.setdefault(self._client, ForkSafeLock())
        aliases = self._use("get_aliases").aliases
        names = {alias.alias_name: alias.collection_name for alias in aliases}
        self._name = names.get(options.name, options.name)
        self.schema = self._open(options)

    def nearest(self, query: Nearest) -> list[Scored]:
        """Answer a query, best row first. Local mode has no graph, and warns of parameters of its search."""
        return super().nearest(replace(query, params=None))

    def close(self) -> None:
        """Free the memory; a client of the caller stays open."""
        client, self._client = self._client, None
        if client is not None and self._owned:
            with self._lock:
                client.close()

    def _open(self, options: OpenOptions) -> Schema:
        where = f"the collection {self._name!r} in {self._location}"
        if options.recreate and self._use("collection_exists", self._name):
            self._call("delete_collection")
        if self._use("collection_exists", self._name):
            schema = found_schema(self._call("get_collection"), options, where)
        elif not options.may_create:
            raise CollectionNotFound(f"{self._location} has no collection {self._name!r}")
        else:
            # Local mode has no indexes: a filter on documents would read every point.
            schema = replace(options.new_schema(), by_document=False)
            self._call("create_collection", **self._creation(schema, options))
        return options.reconcile(schema, where)

    @staticmethod
    def _creation(schema: Schema, options: OpenOptions) -> dict[str, Any]:
        further = options.creation.collection if options.creation else {}
        return {**vector_params(schema, options.creation), "metadata": {OWN_KEY: schema.to_json()}, **further}

    @property
    def client(self) -> QdrantClient:
        """The client of the library."""
        if self._client is None:
            raise StoreError(f"the collection in {self._location} is closed")
        return self._client

    def _call(self, method: str, **arguments: Any) -> Any:  # noqa: ANN401 - what the client's method returns
        return self._use(method, self._name, **arguments)

    def _use(self, method: str, *args: object, **arguments: Any) -> Any:  # noqa: ANN401 - what the client's method returns
        with self._lock:
            if self._client is None:
                raise StoreError(f"the collection in {self._location} is closed")
            try:
                return getattr(self._client, method)(*args, **arguments)
            except (RuntimeError, ValueError, OSError, sqlite3.Error) as error:
                raise StoreError(f"{self._location} failed: {error}") from error
