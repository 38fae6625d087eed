"""The server engine: a Qdrant server by its URL, over gRPC where that is reachable and REST elsewhere.

The collection's description lives in the server's collection metadata, which Qdrant keeps since version 1.16.
"""

from __future__ import annotations

import math
import re
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from qdrant_client import AsyncQdrantClient, QdrantClient, models

from t1_vectorstore.engines import server_indexing
from t1_vectorstore.engines.base import EngineKind, Nearest, Retry, Scored
from t1_vectorstore.engines.client import ClientEngine, scored, vector_params
from t1_vectorstore.engines.client_queries import query_arguments
from t1_vectorstore.engines.schema import OWN_KEY, Expected, Schema
from t1_vectorstore.engines.server_async import AsyncConnection
from t1_vectorstore.engines.server_errors import apatiently, patiently, status_of
from t1_vectorstore.errors import CollectionMismatch, CollectionNotFound, StoreError
from t1_vectorstore.types import Indexing, ModelIdentity

_GRPC_PORT = 6334
_PROBE_SECONDS = 1.0
_OPENING_BUDGET = 5.0  # seconds; who waits for a first answer wants to know soon that the address is wrong


class ServerEngine(ClientEngine):
    """One collection on a server. The client is thread-safe, so there is no lock."""

    kind: EngineKind = "server"

    def __init__(
        self,
        url: str,
        expected: Expected,
        *,
        create: bool,
        api_key: str | None = None,
        timeout: float = 30.0,
        grpc_port: int | None = None,
        retry: Retry | None = None,
    ) -> None:
        """Connect, and open or create the collection.

        Args:
            url: where REST answers.
            expected: the collection wanted.
            create: whether to create it if need be.
            api_key: sent with every call.
            timeout: seconds per call.
            grpc_port: where gRPC answers; ``None`` means the REST port plus one, as Qdrant has it by default.
            retry: how patient to be with transient errors.

        Raises:
            StoreUnavailable: nobody answers at the URL.
            CollectionNotFound: there is no such collection and it is not to be created.
            CollectionMismatch: it has other vectors than those expected.
        """
        self._where = url
        self._retry = retry or Retry()
        self._timeout = math.ceil(timeout)
        self._api_key = api_key
        self._url = url
        self._grpc_port: int | None = None
        self._connecting = threading.Lock()
        self._async: AsyncConnection | None = None
        opening = replace(self._retry, budget=min(self._retry.budget, _OPENING_BUDGET))
        rest = self._connect(grpc_port=None)
        self._client: QdrantClient | None = rest
        try:
            schema = self._find(rest, expected, opening)
            if schema is None:
                if not create or expected.identity is None:
                    raise CollectionNotFound(f"{url} has no collection {expected.name!r}")
                schema = self._create(rest, expected, opening)
            super().__init__(expected.name, schema)
            self.schema = expected.reconcile(schema, f"the collection {expected.name!r} at {url}")
            self._index(rest, opening)
            self._client = self._faster(rest, schema, grpc_port)
        except BaseException:
            rest.close()
            raise

    def disk_bytes(self) -> None:
        """The server does not tell."""
        return

    def defer_indexing(self) -> None:
        """Build no graph until indexing is restored."""
        server_indexing.defer(self._call)

    def restore_indexing(self) -> None:
        """Index again as before."""
        server_indexing.restore(self._call)

    def indexing(self) -> Indexing:
        """What the optimizer is doing."""
        return server_indexing.indexing(self._call)

    def close(self) -> None:
        """Close the connections."""
        with self._connecting:
            client, self._client = self._client, None
            connection, self._async = self._async, None
        if connection is not None:
            connection.close()
        if client is not None:
            client.close()

    async def anearest(self, query: Nearest) -> list[Scored]:
        """``nearest`` without holding up the event loop, and without a thread for each call."""
        connection, arguments = self._async_connection(), query_arguments(query)

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

    def _call(self, verb: str, **arguments: Any) -> Any:  # noqa: ANN401 - what the client's method returns
        client = self._client
        if client is None:
            raise StoreError(f"the connection to {self._where} is closed")
        method: Callable[..., Any] = getattr(client, verb)
        return patiently(lambda: method(self._name, **arguments), self._retry, self._where)

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

    def _find(self, client: QdrantClient, expected: Expected, retry: Retry) -> Schema | None:
        """The description of the collection, or ``None`` where there is no such collection."""
        try:
            found = patiently(lambda: client.get_collection(expected.name), retry, self._where)
        except CollectionNotFound as error:
            if status_of(error.__cause__) is None:
                raise
            return None
        where = f"the collection {expected.name!r} at {self._where}"
        vectors = found.config.params.vectors
        if isinstance(vectors, dict) and "" in vectors:  # another spelling of the unnamed one: langchain-qdrant's
            vectors = vectors[""]
        if not isinstance(vectors, models.VectorParams):
            names = ", ".join(repr(name) for name in vectors or {}) or "none"
            raise CollectionMismatch(f"{where} has named vectors ({names}); this package uses the unnamed one")
        record = (found.config.metadata or {}).get(OWN_KEY)
        if record is None:
            identity = ModelIdentity("(not recorded)", "", vectors.size)
            schema = replace(expected.schema(identity), uid="")
        else:
            schema = replace(Schema.from_json(record, f"the metadata of {where}"), name=expected.name)
        identity = replace(schema.identity, dimension=vectors.size)
        return replace(schema, identity=identity, distance=vectors.distance.value.lower())

    def _create(self, client: QdrantClient, expected: Expected, retry: Retry) -> Schema:
        """Create the collection; if another process is faster, take its."""
        version = patiently(client.info, retry, self._where).version
        if _older(version, (1, 16)):
            raise StoreError(
                f"{self._where} runs Qdrant {version}, which cannot record whose vectors a collection holds; "
                "version 1.16 or later can"
            )
        schema = expected.new_schema()
        params = vector_params(schema)

        def create() -> None:
            client.create_collection(expected.name, metadata={OWN_KEY: schema.to_json()}, **params)

        try:
            patiently(create, retry, self._where)
        except StoreError:
            if (found := self._find(client, expected, retry)) is not None:
                return found
            raise
        return schema

    def _index(self, client: QdrantClient, retry: Retry) -> None:
        """Make the indexes that are still missing, also those that whoever created the collection had no time for."""
        if not (wanted := self.schema.payload_indexes):
            return
        made = patiently(lambda: client.get_collection(self._name), retry, self._where).payload_schema
        for path, (kind, tenant) in wanted.items():
            by_tenant = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True)
            params = by_tenant if tenant else models.PayloadSchemaType(kind)
            index = partial(client.create_payload_index, self._name, path, params, wait=True)
            if path not in made:
                patiently(index, retry, self._where)

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


def _older(version: str, than: tuple[int, int]) -> bool:
    """Whether a version is older; one that cannot be read (a build from source) is not."""
    numbers = re.match(r"(\d+)\.(\d+)", version)
    return numbers is not None and (int(numbers[1]), int(numbers[2])) < than
