"""The keyword arguments of this face: how the thinking ones are settled, and that none is misspelt."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, cast

from typing_extensions import TypedDict

from t1_vectorstore.asking import Asking
from t1_vectorstore.store import Searching
from t1_vectorstore.types import IndexKind


class Thinking(TypedDict, total=False):
    """How a query is thought about; what is missing or ``None`` is left to whoever is asked next.

    The retriever asks the store, the store its embeddings, and those the checkpoint.
    """

    think: bool | None
    """On, off, or ``None`` for what the model was made for."""
    budget: int | None
    """Most tokens of the thought."""
    deadline: float | None
    """Seconds after which the thought is closed as it stands."""
    task: str | None
    """One of the checkpoint's task instructions."""


def settled(*layers: Mapping[str, Any]) -> Thinking:
    """The thinking options of one call: of each option the first that is given, from the nearest layer to the furthest.

    A layer that turns thinking off also drops the limits for thoughts of the layers behind it.
    """
    chosen: dict[str, Any] = dict.fromkeys(Thinking.__annotations__)
    for layer in layers:
        off = chosen["think"] is False
        for name in chosen:
            if chosen[name] is None and not (off and name in ("budget", "deadline")):
                chosen[name] = layer.get(name)
    return cast(Thinking, chosen)


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
