"""The three engines behind one seam. Each is imported when it is opened: only one of them is ever needed."""

from __future__ import annotations

import os
import re
from pathlib import Path

from t1_vectorstore.engines.base import RRF_K, Engine, EngineKind, FilterJSON, Nearest, Row, Scored, Sparse
from t1_vectorstore.engines.schema import DOCUMENT_PATH, OWN_KEY, Expected, Schema

__all__ = [
    "DOCUMENT_PATH",
    "OWN_KEY",
    "RRF_K",
    "Engine",
    "EngineKind",
    "Expected",
    "FilterJSON",
    "Nearest",
    "Row",
    "Schema",
    "Scored",
    "Sparse",
    "open_engine",
]

_HOST_AND_PORT = re.compile(r"[\w.-]+:\d+/?")


def open_engine(location: str | os.PathLike[str], expected: Expected) -> Engine:
    """Open the engine that a location calls for: ``:memory:``, an http(s) URL, or else a folder.

    Raises:
        ValueError: the location is empty or looks like an address that is not a URL.
        StoreError: the engine cannot be opened; see its module.
    """
    text = os.fspath(location)
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"a location is a folder, an http(s):// URL or ':memory:', got {location!r}")
    at_server = isinstance(location, str) and re.match(r"https?://[^/]", text, re.IGNORECASE)
    shard_key = expected.options.shard_key
    if shard_key is not None and not at_server:
        raise ValueError(f"{text!r} has no named shards; {shard_key=} is for a cluster of servers")
    if text == ":memory:":
        from t1_vectorstore.engines.memory import MemoryEngine

        return MemoryEngine(expected)
    if at_server:
        from t1_vectorstore.engines.server.engine import ServerEngine

        return ServerEngine(text.rstrip("/"), expected)
    if isinstance(location, str) and ("://" in text or _HOST_AND_PORT.fullmatch(text)):
        raise ValueError(f"{text!r} is no folder and no http(s):// URL; write a server's address as 'http://host:6333'")
    from t1_vectorstore.engines.embedded.engine import EmbeddedEngine

    return EmbeddedEngine.open(Path(text).expanduser(), expected)
