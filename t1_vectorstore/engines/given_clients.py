"""Clients of Qdrant's library that a caller has, or describes: connected, read synchronously, and asked for names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from qdrant_client import AsyncQdrantClient, QdrantClient
from qdrant_client.local.async_qdrant_local import AsyncQdrantLocal
from qdrant_client.local.qdrant_local import QdrantLocal

from t1_vectorstore.engines.client import client_location
from t1_vectorstore.engines.schema import OWN_KEY
from t1_vectorstore.engines.server.retry import with_retries
from t1_vectorstore.options import Retry

_LOCAL: WeakKeyDictionary[AsyncQdrantClient, QdrantClient] = WeakKeyDictionary()
"""The client of each asynchronous one in local mode, so that all collections over it share one lock."""
_HASTY = Retry(budget=5.0)


@dataclass(frozen=True, slots=True)
class FoundNames:
    """What an existing collection has.

    Attributes:
        recorded: Whether it has this package's description.
        dense: Names of its dense vectors; ``""`` for one without a name.
        sparse: Names of its sparse vectors.
    """

    recorded: bool
    dense: tuple[str, ...]
    sparse: tuple[str, ...]


def connect(**settings: Any) -> QdrantClient:  # noqa: ANN401 - the client's own arguments
    """Return a client of a server, which the caller closes."""
    return QdrantClient(**{"check_compatibility": False, **settings})


def async_client(client: QdrantClient) -> AsyncQdrantClient:
    """Return an asynchronous client with the settings of a server's client."""
    return AsyncQdrantClient(**{**client.init_options, "check_compatibility": False})


def sync_client(client: AsyncQdrantClient) -> QdrantClient:
    """Return a synchronous client of the same collections. In local mode both have the same data in memory."""
    local = client._client
    if not isinstance(local, AsyncQdrantLocal):
        return connect(**{**client.init_options, "check_compatibility": False})
    if client not in _LOCAL:
        view = QdrantLocal.__new__(QdrantLocal)  # the library generates one class from the other: the same attributes
        view.__dict__ = local.__dict__
        made = QdrantClient(":memory:")
        made._client, made._init_options = view, dict(client.init_options)
        _LOCAL[client] = made
    return _LOCAL[client]


def find_names(client: QdrantClient, collection: str) -> FoundNames | None:
    """Return what a collection has; ``None`` if it does not exist.

    Raises:
        StoreError: The server cannot be asked.
    """
    where = client_location(client)
    if not with_retries(lambda: client.collection_exists(collection), _HASTY, where):
        return None
    config = with_retries(lambda: client.get_collection(collection), _HASTY, where).config
    vectors, sparse = config.params.vectors, config.params.sparse_vectors
    return FoundNames(
        recorded=OWN_KEY in (getattr(config, "metadata", None) or {}),
        dense=tuple(vectors) if isinstance(vectors, Mapping) else ("",),
        sparse=tuple(sparse) if isinstance(sparse, Mapping) else (),
    )


def drop(client: QdrantClient, collection: str) -> None:
    """Delete a collection with all its points."""
    with_retries(lambda: client.delete_collection(collection), Retry(), client_location(client))


def create_index(client: QdrantClient, collection: str, field: str, schema: Any) -> None:  # noqa: ANN401 - the library's
    """Create a payload index, as the library describes it; one that exists is left as it is."""
    with_retries(
        lambda: client.create_payload_index(collection, field, schema, wait=True), Retry(), client_location(client)
    )
