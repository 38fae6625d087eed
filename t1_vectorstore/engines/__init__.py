"""The engines that store a collection. Each is imported when it is opened, since a program uses only one of them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from t1_vectorstore.engines.base import RRF_K, Engine, EngineKind, FilterJSON, Nearest, Row, Scored, Sparse
from t1_vectorstore.engines.schema import DOCUMENT_PATH, OWN_KEY, NoteName, OpenOptions, Schema
from t1_vectorstore.network import service_url

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

__all__ = [
    "DOCUMENT_PATH",
    "OWN_KEY",
    "RRF_K",
    "Engine",
    "EngineKind",
    "OpenOptions",
    "FilterJSON",
    "Location",
    "Nearest",
    "NoteName",
    "Row",
    "Schema",
    "Scored",
    "Sparse",
    "location_name",
    "open_engine",
    "refuse_service",
]

Location: TypeAlias = "str | os.PathLike[str] | QdrantClient"
"""A folder, ``:memory:``, the http(s) URL of a Qdrant server, the URL of a T1 service (``t1+http://...``), or a
client of any mode, which stays the caller's."""

_HOST_AND_PORT = re.compile(r"[\w.-]+:\d+/?")


def open_engine(location: Location, options: OpenOptions) -> Engine:
    """Open the engine of a location: ``:memory:``, a URL, a client, or else a folder.

    Raises:
        ValueError: The location is empty, or looks like an address that is not a URL.
        TypeError: The location is none.
        StoreError: The engine cannot be opened; see its module.
    """
    if not isinstance(location, str | os.PathLike):
        return _open_client(location, options)
    text = os.fspath(location)
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"a location is a folder, an http(s):// URL or ':memory:', got {location!r}")
    is_url = isinstance(location, str) and re.match(r"https?://[^/]", text, re.IGNORECASE)
    if not is_url:
        _check_no_shard(text, options)
    if text == ":memory:":
        from t1_vectorstore.engines.memory import MemoryEngine

        return MemoryEngine(options)
    if is_url:
        from t1_vectorstore.engines.server.engine import ServerEngine

        return ServerEngine(text.rstrip("/"), options)
    if (url := service_url(location)) is not None:
        from t1_vectorstore.engines.service import ServiceEngine

        return ServiceEngine(url, options)
    if isinstance(location, str) and ("://" in text or _HOST_AND_PORT.fullmatch(text)):
        raise ValueError(
            f"{text!r} is not a folder and not an http(s):// URL; write a server's address as 'http://host:6333'"
        )
    from t1_vectorstore.engines.embedded.engine import EmbeddedEngine

    return EmbeddedEngine.open(Path(text).expanduser(), options)


def refuse_service(location: object) -> None:
    """Refuse the URL of a T1 service where files or a Qdrant server are needed.

    Raises:
        ValueError: It is one.
    """
    if service_url(location) is not None:
        raise ValueError(
            f"{location} is a T1 service; run this on the machine that has the index, with its folder or URL"
        )


def location_name(location: Location) -> str:
    """Return a location as text, for messages and for ``Collection.location``."""
    if isinstance(location, str | os.PathLike):
        return os.fspath(location)
    from t1_vectorstore.engines.client import client_location

    return client_location(location)


def _open_client(client: object, options: OpenOptions) -> Engine:
    """Open a collection through a client of the caller."""
    from qdrant_client import QdrantClient

    if not isinstance(client, QdrantClient):
        raise TypeError(
            "a location is a folder, an http(s):// URL, ':memory:' or a qdrant_client.QdrantClient, got "
            f"{type(client).__name__}"
        )
    given = client.init_options
    if given["location"] == ":memory:" or given["path"] is not None:
        from t1_vectorstore.engines.memory import MemoryEngine

        _check_no_shard(given["path"] or ":memory:", options)
        return MemoryEngine(options, client)
    from t1_vectorstore.engines.server.engine import ServerEngine

    return ServerEngine(location_name(client), options, client)


def _check_no_shard(location: str, options: OpenOptions) -> None:
    if (shard_key := options.shard_key) is not None:
        raise ValueError(f"{location!r} has no named shards; {shard_key=} is for a cluster of servers")
