"""Documents to save, and snapshots with changed members."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from t1_vectorstore.collection import Collection
from t1_vectorstore.indexing.chunking import Chunker
from t1_vectorstore.maintenance.verify import verify
from tests.collection.conftest import admin, server_url  # noqa: F401 - fixtures
from tests.maintenance.models import OLD, documents

SOURCE = documents(60)
SETTINGS: dict[str, Any] = {"hybrid": True, "indexes": {"n": "integer"}}


def is_equal(collection: Collection, source: Any = SOURCE) -> bool:
    return verify(source, collection, Chunker(), embedder=OLD, vectors=30).equal


def repacked(
    file: Path, out: Path, change: Callable[[tarfile.TarInfo, bytes], tuple[tarfile.TarInfo, bytes] | None]
) -> Path:
    """Copy the snapshot, with each member changed or, for ``None``, left out."""
    with tarfile.open(file) as old, tarfile.open(out, "w:gz", compresslevel=1) as new:
        for member in old:
            source = old.extractfile(member) if member.isreg() else None
            if (changed := change(member, source.read() if source else b"")) is not None:
                changed[0].size = len(changed[1])
                new.addfile(changed[0], io.BytesIO(changed[1]))
    return out
