"""The keyword arguments that every search of this face takes, written down once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, cast

from typing_extensions import TypedDict

from t1_vectorstore.filters import FilterLike
from t1_vectorstore.types import Fusion, IndexKind


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


class Finding(TypedDict, total=False):
    """What is looked for with a vector."""

    offset: int
    """How many of the best to skip."""
    filter: FilterLike | None
    """What the metadata must satisfy: a dict such as ``{"year": {"gte": 2000}}``, or Qdrant's ``Filter``."""
    score_threshold: float | None
    """The lowest cosine similarity to return, in [-1, 1]; it means the same in every method."""
    fusion: Fusion
    """How the rankings by vector and by words become one, in a hybrid search: ``rrf`` or ``dbsf``."""
    diversity: float | None
    """Choose documents that are also unlike each other: 0 is relevance only, 1 is difference only."""
    candidates: int | None
    """How many the vector, and the words, contribute to a fusion or to a choice."""
    group: bool
    """Of each document that was cut into chunks by this package only the best chunk."""


class Searching(Thinking, Finding, total=False):
    """What a search by text takes beside the query and ``k``."""

    hybrid: bool | None
    """Search by words as well as by the vector; ``None``: if the collection can."""
    thought_terms: bool
    """The words are the query's and its thought's, not the query's alone."""


class FindingWords(Finding, total=False):
    """What a search by vector takes beside the vector and ``k``."""

    text: str | None
    """Also look for its words, in a hybrid collection."""


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
