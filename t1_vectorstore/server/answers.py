"""The bodies of answers, as OpenAPI describes them. Routes write the JSON themselves; tests compare the two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal, get_type_hints

from pydantic import BaseModel, Field, create_model

from t1_vectorstore.indexing import LoadReport
from t1_vectorstore.types import Chunk, IndexKind, Role, SearchResult, Thought, Truncated


class ErrorDetails(BaseModel):
    """What was wrong, and what to do."""

    message: str
    type: Literal[
        "invalid_request_error", "authentication_error", "permission_error", "rate_limit_error", "server_error"
    ]
    param: str | None
    code: str | None


class ErrorAnswer(BaseModel):
    """An error."""

    error: ErrorDetails


class Usage(BaseModel):
    """Numbers of tokens."""

    prompt_tokens: int = Field(description="Tokens of the texts that the model has read.")
    thought_tokens: int = Field(description="Tokens of the thoughts.")
    total_tokens: int


class EmbeddingAnswer(BaseModel):
    """The vector of one text."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str
    thoughts: Sequence[Thought] = Field(default=(), description="The thoughts about a query.")


class EmbeddingsAnswer(BaseModel):
    """The vectors of texts, in order."""

    object: Literal["list"]
    data: list[EmbeddingAnswer]
    model: str
    usage: Usage
    truncated: Sequence[Truncated] = Field(description="Texts whose end the model did not read.")


class ModelAnswer(BaseModel):
    """A model."""

    id: str
    role: Role | None = Field(description="The role that this name of the model chooses.")
    object: Literal["model"]
    created: int
    owned_by: str
    fingerprint: str
    dimension: int
    thinks: bool
    refines: bool
    tasks: list[str]
    max_query_tokens: int
    max_document_tokens: int


class ModelsAnswer(BaseModel):
    """The models."""

    object: Literal["list"]
    data: list[ModelAnswer]


class IndexAnswer(BaseModel):
    """An index."""

    name: str
    points: int
    model: str
    fingerprint: str
    dimension: int
    hybrid: bool
    fields: Mapping[str, IndexKind] = Field(description="Metadata fields that are indexed for filters.")
    thinks: bool
    writable: bool = Field(description="Whether this request's key may change it.")


class IndexesAnswer(BaseModel):
    """The indexes."""

    data: list[IndexAnswer]


class AllTimings(BaseModel):
    """Wall time in seconds of embedding the query, with its thought, of searching, and of both."""

    embed: float
    search: float
    total: float


class MapPoint(BaseModel):
    """A vector on the map of a search."""

    kind: Literal["query", "thought", "hit", "query_without_thinking"]
    label: str
    hit: str | None = Field(default=None, description="Id of the hit.")
    x: float
    y: float


_result_fields: dict[str, Any] = {name: (kind, ...) for name, kind in get_type_hints(SearchResult).items()}
SearchAnswer: type[BaseModel] = create_model(
    "SearchAnswer",
    __doc__=SearchResult.__doc__,
    **(_result_fields | {"timings": (AllTimings, ...), "index": (str, ...), "map": (list[MapPoint] | None, None)}),
    warnings=(list[str], Field(description="Why a filter may have found nothing.")),
)
"""The hits of a search: the fields of ``SearchResult``, the index and, if it was asked for, the map."""


class RankedText(BaseModel):
    """A ranked text."""

    index: int = Field(description="Position of the text in the request.")
    relevance_score: float = Field(description="Cosine similarity of query and text.")
    document: dict[str, str] | None = Field(default=None, description="The text, if it was asked for.")


class RerankAnswer(BaseModel):
    """Texts ranked by a query, best first."""

    results: list[RankedText]
    thoughts: Sequence[Thought]
    model: str
    usage: Usage


class AddAnswer(LoadReport):
    """The report of a load: everything in ``stored`` was read back, and ``failures`` was not stored."""


class ChunksAnswer(BaseModel):
    """Stored chunks by id; of a document, all of them in order."""

    data: list[Chunk]
    missing: list[str] = Field(description="Ids under which nothing is stored.")


class PageAnswer(BaseModel):
    """A page of stored chunks."""

    data: list[Chunk]
    next: str | None = Field(description="What to send as 'after' for the next page; null on the last one.")


class CountAnswer(BaseModel):
    """A number of chunks."""

    count: int


class DeleteAnswer(BaseModel):
    """Result of a deletion."""

    deleted: int = Field(description="Number of deleted chunks.")
    unknown: list[str] = Field(description="Ids of which no document is stored.")


class StateAnswer(BaseModel):
    """State of the service."""

    status: Literal["ok", "stopping"]


def json_of_search(
    result: SearchResult, index: str, points: Sequence[MapPoint] | None, warnings: Sequence[str]
) -> dict[str, Any]:
    """Return the JSON object of a result, with the points of its map if there is one, and warnings for the client."""
    answer = asdict(result)
    answer["timings"]["total"] = result.timings.total
    answer["index"] = index
    answer["warnings"] = list(warnings)
    if points is not None:
        answer["map"] = [point.model_dump(exclude_none=True) for point in points]
    return answer
