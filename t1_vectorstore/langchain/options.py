"""The keyword arguments of this face, of which none is misspelt."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from typing_extensions import TypedDict

from t1_vectorstore.asking import Asking
from t1_vectorstore.store import Searching
from t1_vectorstore.types import IndexKind


def check_names(options: Mapping[str, Any], known: type[Asking] | type[Searching]) -> None:
    """Refuse a misspelt option, which would otherwise change nothing.

    Raises:
        TypeError: an option that the search does not have.
    """
    names = sorted(known.__annotations__.keys() - {"limit"})
    if unknown := [name for name in options if name not in names]:
        raise TypeError(f"this search has no option {unknown[0]!r}; it takes k, {', '.join(names)}")


class Place(TypedDict, total=False):
    """Where a collection is and how it is opened: the arguments of ``T1QdrantVectorStore.open``."""

    location: str | os.PathLike[str] | None
    url: str | None
    path: str | os.PathLike[str] | None
    collection_name: str
    create: bool
    adopt: bool
    api_key: str | None
    timeout: float
    grpc_port: int | None
    hybrid: bool | None
    indexes: Mapping[str, IndexKind] | None
    tenant: str | None
    content_payload_key: str | None
    metadata_payload_key: str | None
