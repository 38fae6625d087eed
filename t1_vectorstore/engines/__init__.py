"""The engines that store a collection. Each is imported when it is opened, since a program uses only one of them."""

from __future__ import annotations

import os
import re
from pathlib import Path

from t1_vectorstore.engines.base import RRF_K, Engine, EngineKind, FilterJSON, Nearest, Row, Scored, Sparse
from t1_vectorstore.engines.schema import DOCUMENT_PATH, OWN_KEY, OpenOptions, Schema

__all__ = [
    "DOCUMENT_PATH",
    "OWN_KEY",
    "RRF_K",
    "Engine",
    "EngineKind",
    "OpenOptions",
    "FilterJSON",
    "Nearest",
    "Row",
    "Schema",
    "Scored",
    "Sparse",
    "open_engine",
]

_HOST_AND_PORT = re.compile(r"[\w.-]+:\d+/?")


def open_engine(location: str | os.PathLike[str], options: OpenOptions) -> Engine:
    """Open the engine of a location: ``:memory:``, an http(s) URL, or else a folder.

    Raises:
        ValueError: The location is empty, or looks like an address that is not a URL.
        StoreError: The engine cannot be opened; see its module.
    """
    text = os.fspath(location)
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"a location is a folder, an http(s):// URL or ':memory:', got {location!r}")
    is_url = isinstance(location, str) and re.match(r"https?://[^/]", text, re.IGNORECASE)
    if (shard_key := options.shard_key) is not None and not is_url:
        raise ValueError(f"{text!r} has no named shards; {shard_key=} is for a cluster of servers")
    if text == ":memory:":
        from t1_vectorstore.engines.memory import MemoryEngine

        return MemoryEngine(options)
    if is_url:
        from t1_vectorstore.engines.server.engine import ServerEngine

        return ServerEngine(text.rstrip("/"), options)
    if isinstance(location, str) and ("://" in text or _HOST_AND_PORT.fullmatch(text)):
        raise ValueError(
            f"{text!r} is not a folder and not an http(s):// URL; write a server's address as 'http://host:6333'"
        )
    from t1_vectorstore.engines.embedded.engine import EmbeddedEngine

    return EmbeddedEngine.open(Path(text).expanduser(), options)
