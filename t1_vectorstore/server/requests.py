"""The bodies of requests. Options of searches and thoughts are inherited from ``t1_vectorstore.options``."""

from __future__ import annotations

import ast
import inspect
import textwrap
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, SkipValidation
from pydantic_core import CoreSchema

from t1_vectorstore.keyword_options import Flag, Integer, Options, Text
from t1_vectorstore.options import EmbedQueriesOptions, EmbedQueryOptions, SearchOptions, ThinkingOptions
from t1_vectorstore.types import Role

MAX_PAGE = 1000
"""Maximum number of chunks on one page of a list."""

Metadata = dict[str, Any]
IndexName = Annotated[str | None, Field(max_length=200)]


class Body(Options):
    """Base class of all bodies: the field docstrings of a class and its bases are the descriptions in OpenAPI."""

    model_config = ConfigDict(defer_build=False)  # FastAPI needs the validators when it adds a route

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return the JSON schema, with descriptions."""
        schema = handler.resolve_ref_schema(handler(core_schema))
        for name, description in _field_docstrings(cls).items():
            if name in schema.get("properties", {}):
                schema["properties"][name].setdefault("description", description)
        return schema


class _OfIndex(Body):
    index: IndexName = None
    """Name of the index. It may be left out if the service has one."""


class SearchBody(SearchOptions, _OfIndex):
    """A search; the options are those of ``T1VectorStore.search``."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"query": "Which animals carry loads in the Andes?", "limit": 5, "think": True}]
        }
    )

    query: Text
    """The query."""
    map: Flag = False
    """Also return where query, steps of the thought and hits lie, in two dimensions."""
    filter: dict[str, Any] | None = None
    """Condition on the metadata, such as ``{"country": "France", "year": {"gte": 2000}}``."""
    search_params: dict[str, Any] | None = None
    """Qdrant's own ``SearchParams``, such as ``{"exact": true}`` or ``{"hnsw_ef": 256}``."""
    consistency: Annotated[int, Field(ge=1)] | Literal["majority", "quorum", "all"] | None = None
    """Qdrant's ``ReadConsistency`` for a cluster."""


class EmbeddingsBody(EmbedQueriesOptions, Body):
    """Texts to embed: OpenAI's fields, the role and, for queries, the thinking options."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"model": "t1-mini:document", "input": ["Llamas live in the Andes.", "Camels live in deserts."]},
                {"model": "t1-mini", "input_type": "query", "input": "Which animals carry loads?", "budget": 50},
            ]
        }
    )

    input: Annotated[str | list[str] | list[int] | list[list[int]], SkipValidation]
    """A text, several texts, the token ids of a text, or those of several texts."""
    model: Annotated[str | None, Field(max_length=500)] = None
    """Name of the model, with ``:query`` or ``:document`` at its end to choose the role."""
    input_type: Role | None = None
    """Role of the texts: ``query`` or ``document``. It is required unless the model's name has it."""
    encoding_format: Literal["float", "base64"] = "float"
    """Lists of numbers, or little-endian float32 in base64."""
    dimensions: Annotated[Integer, Field(ge=1)] | None = None
    """Length of the vectors. Only lengths that the checkpoint was trained for are accepted."""
    tokenizer: str | None = None
    """Name of the model whose tokenizer made the token ids. It is required with token ids, and must be this model."""
    user: str | None = None
    """Accepted as in OpenAI's interface, and not used."""


class RerankBody(EmbedQueryOptions, Body):
    """Texts to rank by a query."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"query": "Which animals carry loads?", "documents": ["Llamas do.", "Ferries do."], "top_n": 1}
            ]
        }
    )

    query: Text
    """The query."""
    documents: list[Text]
    """The texts to rank."""
    model: Annotated[str | None, Field(max_length=500)] = None
    """Name of the model. It may be left out if the service has one."""
    top_n: Annotated[Integer, Field(ge=1)] | None = None
    """Maximum number of results. Default: all."""
    return_documents: Flag = False
    """Return the texts as well."""


class NewDocument(BaseModel):
    """A document to store."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: Text
    id: Text | None = None
    metadata: Metadata = Field(default_factory=dict)


class AddBody(_OfIndex):
    """Documents to store."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"documents": [{"id": "llama", "text": "Llamas live in the Andes.", "metadata": {"year": 2024}}]}
            ]
        }
    )

    documents: list[NewDocument]
    """The documents. One with the id of a stored document replaces it."""
    chunk_size: Annotated[Integer, Field(ge=1)] | None = None
    """Maximum characters in a chunk. Default: as in the index's latest load, else 1,600."""
    overlap: Annotated[Integer, Field(ge=0)] | None = None
    """Characters that adjacent chunks share. Default: as in the index's latest load, else 0."""


class CountBody(_OfIndex):
    """A count of chunks."""

    filter: dict[str, Any] | None = None
    """Condition on the metadata."""


class ListBody(CountBody):
    """A page of the stored chunks, in an order that stays the same."""

    limit: Integer = Field(default=100, ge=1, le=MAX_PAGE)
    """Maximum number of chunks."""
    after: str | None = None
    """``next`` of the page before."""


class DeleteBody(_OfIndex):
    """Documents to delete with all their chunks: by id, or by a filter."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"ids": ["llama"]}]})

    ids: list[Text] | None = None
    """Ids of documents."""
    filter: dict[str, Any] | None = None
    """Condition on the metadata."""


THINKING_FIELDS = (*ThinkingOptions.model_fields, "thoughts")
"""Fields of ``EmbeddingsBody`` that are for queries only; documents are not thought about."""


@lru_cache
def _field_docstrings(cls: type) -> dict[str, str]:
    """Return the docstrings below the fields of a class and of its bases."""
    found: dict[str, str] = {}
    for kind in cls.__mro__:
        if not issubclass(kind, Options) or kind is Options:
            continue
        [definition] = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
        assert isinstance(definition, ast.ClassDef)
        for field, after in zip(definition.body, definition.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and _is_string(after):
                found.setdefault(field.target.id, " ".join(after.value.value.split()))  # type: ignore[attr-defined]
    return found


def _is_string(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def read_input(value: Any, most: int) -> list[str] | list[list[int]]:  # noqa: ANN401 - checked here
    """Return the texts of a body's ``input``, or their token ids.

    Raises:
        ValueError: It is none of the four forms, empty, or longer than ``most``.
    """
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list) or not value:
        raise ValueError(f"input must be a text, several texts, or token ids, got {value!r:.100}")
    if all(_is_token(item) for item in value):
        value = [value]
    if len(value) > most:
        raise ValueError(f"input has {len(value)} texts, and one request may have {most}; send several requests")
    items: list[Any] = value
    if all(isinstance(item, str) for item in items) or all(map(_is_token_list, items)):
        return items
    odd = next(item for item in items if not (isinstance(item, str) or _is_token_list(item)) or item is not items[0])
    raise ValueError(f"input must be a text, several texts, or token ids; one item is {odd!r:.100}")


def _is_token_list(item: object) -> bool:
    return isinstance(item, list) and bool(item) and all(map(_is_token, item))


def _is_token(item: object) -> bool:
    return isinstance(item, int) and not isinstance(item, bool)
