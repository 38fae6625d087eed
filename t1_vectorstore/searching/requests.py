"""What the steps of a search ask of a model and a collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from t1_vectorstore.types import Vector


@dataclass(frozen=True, slots=True)
class Embed:
    """Embed the query; the answer is a ``QueryEmbedding``.

    Attributes:
        options: The fields of ``EmbedQueryOptions`` that are set.
    """

    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class EmbedQueries:
    """Embed several queries; the answer is a list of ``QueryEmbedding``.

    Attributes:
        texts: The queries.
        options: Fields of ``EmbedQueriesOptions``.
    """

    texts: Sequence[str]
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class EmbedDocuments:
    """Embed texts as documents; the answer is their vectors, one row for each."""

    texts: Sequence[str]


@dataclass(frozen=True, slots=True)
class Find:
    """Search the collection; the answer is a sequence of hits.

    Attributes:
        vector: The query's vector.
        options: The fields of ``VectorSearchOptions`` that are set.
    """

    vector: Vector
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ReadVectors:
    """Read stored vectors; the answer maps the ids that have one to vectors of length 1."""

    ids: Sequence[str]


Request: TypeAlias = Embed | EmbedQueries | EmbedDocuments | Find | ReadVectors
