"""The server engine: a Qdrant server by its URL.

The collection's description is stored in the server's collection metadata, which Qdrant has since version 1.16.
Collections are opened and changed over REST. Points are read and written over gRPC, where that is reachable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from qdrant_client import AsyncQdrantClient, QdrantClient, models
from qdrant_client.conversions.conversion import GrpcToRest

from t1_vectorstore.engines.base import EngineKind, Nearest, Row, Scored
from t1_vectorstore.engines.client import ClientEngine, check_completed, query_arguments, scored_rows
from t1_vectorstore.engines.ids import PointId
from t1_vectorstore.engines.schema import OWN_KEY, OpenOptions
from t1_vectorstore.engines.server import grpc_messages, opening
from t1_vectorstore.engines.server.admin import REPLACES
from t1_vectorstore.engines.server.connections import (
    AsyncConnection,
    abandon,
    check_reachable,
    client_settings,
    connect,
    listening_grpc_port,
    note_grpc,
)
from t1_vectorstore.engines.server.opening import WORDS, Opening, check_version, is_too_old
from t1_vectorstore.engines.server.retry import is_about_content, with_retries, with_retries_async
from t1_vectorstore.errors import StoreError, WriteRefused
from t1_vectorstore.forks import ForkSafeLock, renew_after_fork
from t1_vectorstore.types import Indexing

_Result = TypeVar("_Result")
_POINT_METHODS = {"upsert", "delete", "retrieve", "query_points", "count", "scroll"}
FORMER_THRESHOLD = "t1_indexing_threshold"
"""Key in the collection's metadata of the threshold to restore, in kilobytes of vectors per segment."""
_OPENING_BUDGET = 5.0  # seconds; a wrong address should be reported soon


class ServerEngine(ClientEngine):
    """One collection on a server. The clients are thread-safe, so there is no lock around calls.

    A forked process makes its own connections: it would read its parent's answers from the inherited ones. They use
    REST if the parent has used gRPC, which does not work after a fork.
    """

    kind: EngineKind = "server"

    def __init__(self, url: str, options: OpenOptions, client: QdrantClient | None = None) -> None:
        """Open or create the collection; see ``Opening.open``.

        Args:
            url: The server.
            options: The caller's options.
            client: A client of the caller, which is used for all calls and not closed. An asynchronous one is created
                with its settings. Without it, the options say how to connect.

        Raises:
            StoreUnavailable: No server answers at the URL.
        """
        self.write_lock = ForkSafeLock(reentrant=True)
        self._url = url
        self._retry = options.retry
        self._shard_key = options.shard_key
        self._version: str | None = None
        self._given_client = client
        self._settings = partial(client_settings, url, options.api_key, options.timeout)
        self._requested_grpc_port = options.grpc_port
        self._connecting = ForkSafeLock()
        self._closed = False
        self._async: AsyncConnection | None = None
        self._point_client: QdrantClient | None = None
        """Over gRPC, or the REST client; chosen at the first call about points."""
        self._grpc_port: int | None = None
        """Set when gRPC is chosen."""
        client = self._given_client or connect(self._settings())
        try:
            if self._given_client is None:
                check_reachable(url, self._retry)
            elif self._given_client.init_options["prefer_grpc"]:
                note_grpc()
            hasty = replace(self._retry, budget=min(self._retry.budget, _OPENING_BUDGET))
            opened = Opening(client, url, options, hasty)
            self._name, schema = opened.open()
        except BaseException:
            if client is not self._given_client:
                client.close()
            raise
        self._client: QdrantClient | None = client
        self.schema = schema
        self._index_kinds = opened.index_kinds
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Leave the connections to the parent; the next call makes new ones, also in place of a caller's client."""
        abandon(self._async, self._point_client, self._client, self._given_client)
        if (given := self._given_client) is not None:
            self._settings = partial(_settings_of, given.init_options)
            self._given_client = None
        self._async = self._point_client = self._client = self._grpc_port = None

    @property
    def client(self) -> QdrantClient:
        """The client of the library, over REST unless the caller gave another one."""
        return self._get_rest_client()

    @property
    def collection(self) -> str:
        """The collection's own name, even if it was opened by an alias."""
        return self._name

    def index_kinds(self) -> Mapping[str, str]:
        """Return the kinds of the payload indexes, by payload path, as they were when the collection was opened."""
        return self._index_kinds

    def words_need_index(self) -> bool:
        """Return whether the server is too old to compare words in a field without a text index."""
        return is_too_old(WORDS, self._server_version())

    def has_previous_build(self) -> bool:
        """Return whether the collection's metadata names the one that it replaced."""
        return bool((self._call("get_collection").config.metadata or {}).get(REPLACES))

    def defer_indexing(self) -> None:
        """Set the indexing threshold to 0, at which a server builds no graph; this makes a load twice as fast.

        The threshold is first written into the collection's metadata, where any client can find it, also after a crash.
        If it is 0 already, nothing changes, so that overlapping loads cannot lose it.
        """
        if threshold := _threshold(self._call("get_collection")):
            self._call("update_collection", metadata={FORMER_THRESHOLD: threshold})
            if _former_threshold(self._call("get_collection")) == threshold:  # a server before 1.16 has no metadata
                self._set_threshold(0)

    def restore_indexing(self) -> None:
        """Restore the threshold; if indexing is not deferred, only wake an optimizer that waits."""
        found = self._call("get_collection")
        former = None if _threshold(found) else _former_threshold(found)
        if former or found.status == models.CollectionStatus.GREY:  # after a restart an optimizer waits for any change
            self._set_threshold(former)

    def indexing(self) -> Indexing:
        """Return the state of the optimizer."""
        found: models.CollectionInfo = self._call("get_collection")
        failed = found.optimizer_status if isinstance(found.optimizer_status, models.OptimizersStatusOneOf1) else None
        return Indexing(
            status=found.status.value,
            indexed=found.indexed_vectors_count or 0,
            points=found.points_count or 0,
            deferred=bool(_former_threshold(found)) and not _threshold(found),
            error=failed.error if failed else "",
        )

    def _set_threshold(self, threshold: int | None) -> None:
        config = models.OptimizersConfigDiff(indexing_threshold=threshold)
        self._call("update_collection", optimizers_config=config)

    def close(self) -> None:
        """Close the connections, except a client of the caller."""
        with self._connecting:
            self._closed = True
            connections = (self._async, self._point_client, self._client)
            self._async = self._point_client = self._client = None
        for connection in dict.fromkeys(connections):
            if connection is not None and connection is not self._given_client:
                connection.close()

    def write(self, rows: Sequence[Row]) -> None:
        """Insert or replace rows, and wait until they can be read.

        Raises:
            WriteRefused: The server does not accept the content of a row.
        """
        try:
            if self._uses_grpc():
                request = grpc_messages.upsert_request(self._name, rows, self.schema, self._shard_key)
                check_completed(GrpcToRest.convert_update_result(self._call_grpc("Upsert", request)))
            else:
                super().write(rows)
        except StoreError as error:
            if is_about_content(error.__cause__):
                raise WriteRefused(str(error)) from error.__cause__
            raise

    def read(self, ids: Sequence[PointId], *, fields: Sequence[str] | None = None, vectors: bool = False) -> list[Row]:
        """Return the rows that exist among ``ids``."""
        if vectors or not self._uses_grpc():
            return super().read(ids, fields=fields, vectors=vectors)
        request = grpc_messages.get_request(self._name, ids, fields, self._shard_key)
        return [grpc_messages.read_row(point) for point in self._call_grpc("Get", request)]

    def nearest(self, query: Nearest) -> list[Scored]:
        """Answer a query, best row first.

        Raises:
            StoreError: The server is too old for the query.
        """
        self._check_version(query)
        return super().nearest(query)

    async def anearest(self, query: Nearest) -> list[Scored]:
        """``nearest`` without blocking the event loop; it needs a thread only for the first query."""
        if self._point_client is None or (self._version is None and _features(query)):
            await asyncio.to_thread(self._check_version, query)
        self._check_version(query)
        arguments = {**query_arguments(query, self.schema), **self._shard_argument()}

        async def search(client: AsyncQdrantClient) -> models.QueryResponse:
            return await with_retries_async(
                lambda: client.query_points(self._name, **arguments), self._retry, self._url
            )

        return scored_rows(await self._async_connection().call(search), self.schema)

    def _check_version(self, query: Nearest) -> None:
        """Refuse a query that an older server would answer as another one; its version is read once."""
        self._get_point_client()
        for feature in _features(query):
            check_version(feature, self._server_version(), self._url)

    def _server_version(self) -> str:
        if self._version is None:
            self._version = self._with_retries(self._get_point_client().info).version
        return self._version

    def _call(self, method: str, **arguments: Any) -> Any:  # noqa: ANN401 - what the client's method returns
        if method in _POINT_METHODS:
            client = self._get_point_client()
            arguments |= self._shard_argument()
        else:
            client = self._get_rest_client()
        return self._with_retries(lambda: getattr(client, method)(self._name, **arguments))

    def _call_grpc(self, method: str, request: object) -> Any:  # noqa: ANN401 - a message of the method
        stub, timeout = self._get_point_client().grpc_points, self._settings()["timeout"]
        return self._with_retries(lambda: getattr(stub, method)(request, timeout=timeout)).result

    def _with_retries(self, call: Callable[[], _Result]) -> _Result:
        return with_retries(call, self._retry, self._url)

    def _shard_argument(self) -> dict[str, str]:
        """Return the argument that limits a call to one named shard, if the collection was opened for one."""
        return {} if self._shard_key is None else {"shard_key_selector": self._shard_key}

    def _get_rest_client(self) -> QdrantClient:
        if (client := self._client) is not None:
            return client
        with self._connecting:
            return self._connect_rest()

    def _connect_rest(self) -> QdrantClient:
        """Return the REST client, which a forked process has to make first; called under the lock."""
        if self._closed:
            raise StoreError(f"the connection to {self._url} is closed")
        if self._client is None:
            self._client = connect(self._settings())
        return self._client

    def _uses_grpc(self) -> bool:
        self._get_point_client()
        return self._grpc_port is not None

    def _get_point_client(self) -> QdrantClient:
        """Return the client for points: over gRPC if it leads to the same collection, as its ``uid`` shows."""
        if (chosen := self._point_client) is not None:
            return chosen
        with self._connecting:
            if self._point_client is None:
                rest = self._connect_rest()
                if (given := self._given_client) is not None:
                    self._point_client = given
                    self._grpc_port = given.init_options["grpc_port"] if given.init_options["prefer_grpc"] else None
                else:
                    self._point_client = self._connect_grpc() or rest
            return self._point_client

    def _connect_grpc(self) -> QdrantClient | None:
        uid = self.schema.uid
        port = listening_grpc_port(self._url, self._requested_grpc_port) if uid else None
        if port is None:
            return None
        client = connect(self._settings(port))
        try:
            metadata = client.get_collection(self._name).config.metadata or {}
        except Exception:  # noqa: BLE001 - whatever is wrong there, REST works
            metadata = {}
        if metadata.get(OWN_KEY, {}).get("uid") != uid:
            client.close()
            return None
        self._grpc_port = port
        return client

    def _async_connection(self) -> AsyncConnection:
        with self._connecting:
            self._connect_rest()
            if self._async is None:
                given = self._given_client
                settings = self._settings(self._grpc_port) if given is None else given.init_options
                self._async = AsyncConnection(lambda: AsyncQdrantClient(**{**settings, "check_compatibility": False}))
            return self._async


def _settings_of(options: dict[str, Any], grpc_port: int | None = None) -> dict[str, Any]:
    """Return the arguments of a client like one that was created with these options."""
    port = {} if grpc_port is None else {"grpc_port": grpc_port}
    return {**options, **port, "prefer_grpc": grpc_port is not None, "check_compatibility": False}


def _threshold(found: models.CollectionInfo) -> int | None:
    return found.config.optimizer_config.indexing_threshold


def _former_threshold(found: models.CollectionInfo) -> int | None:
    former = (found.config.metadata or {}).get(FORMER_THRESHOLD)
    return int(former) if isinstance(former, int | float) else None


def _features(query: Nearest) -> list[opening.Feature]:
    """Return the features of a query that not every server has."""
    fused = [opening.FUSE_BY_RANK] if query.vectors or (query.sparse and query.fusion) else []
    return fused if query.diversity is None else [opening.DIVERSITY, *fused]
