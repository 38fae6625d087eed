"""Rows and queries of an engine as JSON, in which a service sends them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from t1_vectorstore.engines.base import Nearest, Row, Sparse
from t1_vectorstore.service import array_from_json, array_to_json
from t1_vectorstore.types import Fusion


class _Terms(BaseModel):
    model_config = ConfigDict(extra="forbid")

    indices: list[int]
    values: list[float]


class _Query(BaseModel):
    """The fields of ``Nearest``, in JSON."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    vector: dict[str, Any]
    vectors: list[dict[str, Any]] = []
    limit: int = Field(ge=1)
    offset: int = Field(default=0, ge=0)
    filter: dict[str, Any] | None = None
    diversity: float | None = Field(default=None, ge=0, le=1)
    sparse: _Terms | None = None
    fusion: Fusion | None = "rrf"
    candidates: int = Field(default=0, ge=0)
    params: dict[str, Any] | None = None
    consistency: int | str | None = None


def check_filter(filter: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return a filter in Qdrant's JSON that comes from elsewhere, if it is one.

    Raises:
        ValueError: It is not one; an engine might ignore what it does not know.
    """
    from qdrant_client.models import Filter

    if filter is not None:
        try:
            Filter.model_validate(filter)
        except ValidationError as error:
            problem = error.errors()[0]
            place = ".".join(map(str, problem["loc"]))
            raise ValueError(f"not a filter in Qdrant's JSON: {problem['msg']} ({place})") from None
    return filter


def row_to_json(row: Row) -> dict[str, Any]:
    """Return a row as JSON."""
    return {
        "id": row.id,
        "payload": row.payload,
        "vector": None if row.vector is None else array_to_json(row.vector),
        "size": row.size,
        "sparse": None
        if row.sparse is None
        else {"indices": list(row.sparse.indices), "values": list(row.sparse.values)},
    }


def row_from_json(record: Mapping[str, Any]) -> Row:
    """Read the result of ``row_to_json``.

    Raises:
        ValueError: It is not such a result.
    """
    try:
        row_id, payload, vector, sparse = (record[key] for key in ("id", "payload", "vector", "sparse"))
        if isinstance(row_id, bool) or not isinstance(row_id, int | str) or not isinstance(payload, dict):
            raise ValueError(f"its id is {row_id!r:.100} and its payload a {type(payload).__name__}")  # noqa: TRY004 - bad data
        return Row(
            row_id,
            payload,
            None if vector is None else array_from_json(vector),
            int(record["size"]),
            None
            if sparse is None
            else Sparse([int(i) for i in sparse["indices"]], [float(v) for v in sparse["values"]]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not a row: {error}") from None


def nearest_to_json(query: Nearest) -> dict[str, Any]:
    """Return a query to an engine as JSON."""
    consistency = query.consistency
    plain = replace(query, consistency=getattr(consistency, "value", consistency))
    params = plain.params.model_dump(exclude_none=True) if isinstance(plain.params, BaseModel) else plain.params
    return {
        **asdict(replace(plain, params=None, vectors=())),
        "params": params,
        "vector": array_to_json(query.vector),
        "vectors": [array_to_json(vector) for vector in query.vectors],
    }


def nearest_from_json(record: Mapping[str, Any]) -> Nearest:
    """Read the result of ``nearest_to_json``.

    Raises:
        ValueError: It is not such a result.
    """
    try:
        query = _Query.model_validate(record)
        vector, *vectors = map(array_from_json, (query.vector, *query.vectors))
    except ValidationError as error:
        raise ValueError(
            f"not a query to an engine: {error.errors()[0]['msg']} ({'.'.join(map(str, error.errors()[0]['loc']))})"
        ) from None
    check_filter(query.filter)
    terms = None if query.sparse is None else Sparse(query.sparse.indices, query.sparse.values)
    fields = {name: getattr(query, name) for name in _Query.model_fields if name not in ("vector", "vectors", "sparse")}
    return Nearest(vector=vector, vectors=vectors, sparse=terms, **fields)
