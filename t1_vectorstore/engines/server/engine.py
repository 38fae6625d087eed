"""The server engine: a Qdrant server by its URL, over gRPC where that is reachable and REST elsewhere.

The collection's description lives in the server's collection metadata, which Qdrant keeps since version 1.16.
"""

from __future__ import annotations

import asyncio
import math
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar
from urllib.parse import urlsplit

from qdrant_client import AsyncQdrantClient, QdrantClient, models
from qdrant_client.conversions.conversion import GrpcToRest

from t1_vectorstore.engines.base import EngineKind, Nearest, Row, Scored
from t1_vectorstore.engines.client import ClientEngine, completed, scored
from t1_vectorstore.engines.client_queries import query_arguments
from t1_vectorstore.engines.ids import PointId
from t1_vectorstore.engines.schema import OWN_KEY, Expected, Schema
from t1_vectorstore.engines.server import deferred_indexing, grpc_messages
from t1_vectorstore.engines.server.admin import aliased
from t1_vectorstore.engines.server.async_connection import AsyncConnection
from t1_vectorstore.engines.server.features import demand
from t1_vectorstore.engines.server.opening import NOTED_LOAD, Opening, noted_load
from t1_vectorstore.engines.server.retry import apatiently, is_about_content, patiently
from t1_vectorstore.engines.server.storage import search_params
from t1_vectorstore.errors import CollectionNotFound, StoreError, WriteRefused
from t1_vectorstore.types import Indexing, LoadRecord

_Result = TypeVar("_Result")
_GRPC_PORT = 6334
_PROBE_SECONDS = 1.0
_OF_POINTS = {"upsert", "delete", "retrieve", "query_points", "count", "scroll"}
_OPENING_BUDGET = 5.0  # seconds; who waits for a first answer wants to know soon that the address is wrong


class ServerEngine(ClientEngine):
    """One collection on a server. The client is thread-safe, so there is no lock."""

    kind: EngineKind = "server"

    def __init__(
        self,
        url: str,
        expected: Expected,
    ) -> None:
        """Connect, and open or create the collection.

        Args:
            url: where REST answers.
            expected: the collection wanted, with the options of the connection.

        Raises:
            StoreUnavailable: nobody answers at the URL.
            CollectionNotFound: there is no such collection and it is not to be created.
            CollectionMismatch: it has other vectors than those expected.
        """
        self._where = url
        options = expected.options
        self._retry = options.retry
        self._timeout = math.ceil(options.timeout)
        self._api_key = options.api_key
        self._url = url
        self._grpc_port: int | None = None
        self._connecting = threading.Lock()
        self._async: AsyncConnection | None = None
        self._shard_key = options.shard_key
        self._version: str | None = None
        rest = self._connect(grpc_port=None)
        self._client: QdrantClient | None = rest
        hasty = replace(self._retry, budget=min(self._retry.budget, _OPENING_BUDGET))
        try:
            name = aliased(rest, options.name, hasty, url)
            expected = replace(expected, options=options.model_copy(update={"name": name}))
            opening = Opening(rest, url, hasty, expected)
            schema = opening.find()
            if schema is None:
                if not expected.may_create:
                    raise CollectionNotFound(f"{url} has no collection {name!r}")
                schema = opening.create()
            super().__init__(name, schema)
            self.schema = expected.reconcile(schema, f"the collection {name!r} at {url}")
            opening.complete(self.schema)
            self.schema = replace(self.schema, name=options.name)
            self._client = self._faster(rest, schema, options.grpc_port)
        except BaseException:
            rest.close()
            raise

    @property
    def collection(self) -> str:
        """The collection's own name, whatever alias it was opened by."""
        return self._name

    def disk_bytes(self) -> None:
        """The server does not tell."""
        return

    def defer_indexing(self) -> None:
        """Build no graph until indexing is restored."""
        deferred_indexing.defer(self._call)

    def restore_indexing(self) -> None:
        """Index again as before."""
        deferred_indexing.restore(self._call)

    def indexing(self) -> Indexing:
        """What the optimizer is doing."""
        return deferred_indexing.indexing(self._call)

    def latest_load(self) -> LoadRecord | None:
        """What was noted last, perhaps by another client."""
        return noted_load(self._call("get_collection"))

    def note_load(self, load: LoadRecord) -> None:
        """Write it into the collection's metadata."""
        if self.schema.uid:
            self._call("update_collection", metadata={NOTED_LOAD: load.to_json()})

    def close(self) -> None:
        """Close the connections."""
        with self._connecting:
            client, self._client = self._client, None
            connection, self._async = self._async, None
        if connection is not None:
            connection.close()
        if client is not None:
            client.close()

    def write(self, rows: Sequence[Row]) -> None:
        """Insert or replace rows, and wait until they can be read.

        Raises:
            WriteRefused: the server does not take one of them, for what it holds.
        """
        try:
            self._write(rows)
        except StoreError as error:
            if is_about_content(error.__cause__):
                raise WriteRefused(str(error)) from error.__cause__
            raise

    def _write(self, rows: Sequence[Row]) -> None:
        if self._grpc_port is None:
            super().write(rows)
            return
        request = grpc_messages.upsert_request(self._name, rows, self._shard_key)
        done = self._patiently(lambda client: client.grpc_points.Upsert(request, timeout=self._timeout)).result
        completed(GrpcToRest.convert_update_result(done))

    def read(self, ids: Sequence[PointId], *, fields: Sequence[str] | None = None, vectors: bool = False) -> list[Row]:
        """The rows that exist among ``ids``."""
        if self._grpc_port is None or vectors:
            return super().read(ids, fields=fields, vectors=vectors)
        request = grpc_messages.get_request(self._name, ids, fields, self._shard_key)
        found = self._patiently(lambda client: client.grpc_points.Get(request, timeout=self._timeout)).result
        return [grpc_messages.row(point) for point in found]

    def nearest(self, query: Nearest) -> list[Scored]:
        """The rows that answer a query, best first.

        Raises:
            StoreError: the server is too old to answer it as it is meant.
        """
        self._demand(query)
        return super().nearest(query)

    async def anearest(self, query: Nearest) -> list[Scored]:
        """``nearest`` without holding up the event loop, and without a thread but to ask a server's version, once."""
        if self._version is None and _new_features(query):
            await asyncio.to_thread(self._demand, query)
        self._demand(query)
        arguments = {**query_arguments(query, search_params(self.schema.storage)), **self._shard("query_points")}
        connection = self._async_connection()

        async def ask(client: AsyncQdrantClient) -> models.QueryResponse:
            return await apatiently(lambda: client.query_points(self._name, **arguments), self._retry, self._where)

        return scored(await connection.call(ask))

    def _async_connection(self) -> AsyncConnection:
        with self._connecting:
            if self._client is None:
                raise StoreError(f"the connection to {self._where} is closed")
            if self._async is None:
                self._async = AsyncConnection(lambda: AsyncQdrantClient(**self._settings(self._grpc_port)))
            return self._async

    def _demand(self, query: Nearest) -> None:
        """Refuse a query of which an older server would ignore a part; it is asked once how old it is."""
        for feature in _new_features(query):
            if self._version is None:
                self._version = self._patiently(lambda client: client.info().version)
            demand(feature, self._version, self._where)

    def _shard(self, verb: str) -> dict[str, str]:
        """The argument that keeps a call to the collection's shard of one name, if it was opened for one."""
        return {} if self._shard_key is None or verb not in _OF_POINTS else {"shard_key_selector": self._shard_key}

    def _call(self, verb: str, **arguments: Any) -> Any:  # noqa: ANN401 - what the client's method returns
        return self._patiently(lambda client: getattr(client, verb)(self._name, **arguments, **self._shard(verb)))

    def _patiently(self, call: Callable[[QdrantClient], _Result]) -> _Result:
        client = self._client
        if client is None:
            raise StoreError(f"the connection to {self._where} is closed")
        return patiently(lambda: call(client), self._retry, self._where)

    def _connect(self, grpc_port: int | None) -> QdrantClient:
        return QdrantClient(**self._settings(grpc_port))

    def _settings(self, grpc_port: int | None) -> dict[str, Any]:
        """How a client connects; by gRPC, if its port is given."""
        parts = urlsplit(self._url)
        default_port = 443 if parts.scheme == "https" else 6333
        return {
            "url": self._url,
            "port": parts.port or default_port,
            "grpc_port": grpc_port or _GRPC_PORT,
            "prefer_grpc": grpc_port is not None,
            "api_key": self._api_key,
            "timeout": self._timeout,
            "check_compatibility": False,  # it warns of versions; what matters of them is checked where it matters
        }

    def _faster(self, rest: QdrantClient, schema: Schema, grpc_port: int | None) -> QdrantClient:
        """A gRPC connection, if one leads to the same collection: by its ``uid``, not just by its name."""
        parts = urlsplit(self._url)
        port = grpc_port or (parts.port + 1 if parts.port and parts.port != 443 else _GRPC_PORT)
        if not schema.uid or not _listening(parts.hostname or "", port):
            return rest
        client = self._connect(grpc_port=port)
        try:
            metadata = client.get_collection(schema.name).config.metadata or {}
        except Exception:  # noqa: BLE001 - whatever it is: REST has just worked
            metadata = {}
        if metadata.get(OWN_KEY, {}).get("uid") == schema.uid:
            rest.close()
            self._grpc_port = port
            return client
        client.close()
        return rest


def _listening(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=_PROBE_SECONDS):
            return True
    except OSError:
        return False


def _new_features(query: Nearest) -> list[str]:
    """What the query asks for that not every server has."""
    new = {
        "choose hits that differ": query.diversity,
        "fuse rankings as the other engines do": query.sparse and query.fusion,
    }
    return [feature for feature, asked in new.items() if asked is not None]
