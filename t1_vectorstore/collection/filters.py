"""Filters on metadata: a dict, or Qdrant's own ``Filter``.

    {"country": "France"}                      equal
    {"facet": ["exports", "climate"]}          any of these
    {"year": {"gte": 2000, "lt": 2010}}        within a range; numbers, or ISO 8601 dates
    {"facet": {"ne": "x"}}, {"facet": {"not_in": ["x", "y"]}}
    {"author.name": "Ada"}                     nested; a key that itself has a dot is quoted: {'"a.b"': 1}
    {"year": None}                             missing, null or an empty list
    {"title": {"text": "capital city"}}        all of these words, in any case and order (see below)

All entries must hold; ``AllOf``, ``AnyOf`` and ``NoneOf`` combine filters in other ways, to any depth. A list in the
metadata matches if one of its elements does. Numbers are compared by value (``2`` finds ``2.0``) and never equal
``True`` or ``False``. A point without the field passes ``ne`` and ``not_in``. On a field without a text index, some
versions of the server search for the value of ``text`` as one string.

Values are converted as metadata is (see ``t1_vectorstore.metadata``), so a filter with a datetime, a UUID or a NumPy
number finds what was stored for it. Two datetimes are equal if they are written alike; ranges compare the instants.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from t1_vectorstore.engines.ids import point_id
from t1_vectorstore.engines.schema import field_path
from t1_vectorstore.metadata import to_json
from t1_vectorstore.types import AllOf, AnyOf, FilterLike, IdIn, NoneOf

_RANGE = ("gt", "gte", "lt", "lte")
_OPERATORS = ("eq", "ne", "in", "not_in", *_RANGE, "text")
_NOTHING: dict[str, Any] = {"has_id": []}
_EXACT = 2**53  # above it, neighbouring integers are the same float
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9:.]+(Z|[+-][0-9:]+)?)?", re.ASCII)


def compile_filter(filter: FilterLike | None, metadata_key: str) -> dict[str, Any] | None:
    """Translate a filter into the JSON of Qdrant's REST interface; ``None`` if it restricts nothing.

    The keys of a dict are metadata fields. Those of a Qdrant ``Filter`` are payload paths, which are left unchanged.

    Raises:
        ValueError: An unknown operator, a value that the operator does not accept, or a key that is not a path.
        TypeError: Neither a mapping nor a ``Filter``.
    """
    if filter is None:
        return None
    if isinstance(filter, Mapping):
        return _compile_dict(filter, metadata_key)
    if isinstance(filter, IdIn):
        return {"must": [{"has_id": [point_id(given) for given in filter.ids]}]}
    if isinstance(filter, AllOf | AnyOf | NoneOf):
        return _combine(filter, [compile_filter(part, metadata_key) for part in filter.filters])
    dump = getattr(filter, "model_dump", None)
    if type(filter).__name__ != "Filter" or dump is None:
        raise TypeError(f"a filter is a dict or a qdrant_client.models.Filter, not {type(filter).__name__}: {filter!r}")
    clauses = dump(mode="json", by_alias=True, exclude_none=True)
    return {name: clause for name, clause in clauses.items() if clause != []} or None


def _combine(filter: AllOf | AnyOf | NoneOf, parts: list[dict[str, Any] | None]) -> dict[str, Any] | None:
    """Combine compiled filters; a part that is ``None`` holds for every point."""
    restricting = [part for part in parts if part is not None]
    if isinstance(filter, AllOf):
        return {"must": restricting} if restricting else None
    if isinstance(filter, AnyOf):
        nothing, clause = not parts, "should"
    else:
        nothing, clause = len(restricting) < len(parts), "must_not"
    if nothing:
        return {"must": [_NOTHING]}
    return {clause: restricting} if restricting and len(restricting) == len(parts) else None


def _compile_dict(filter: Mapping[str, Any], metadata_key: str) -> dict[str, Any] | None:
    must: list[dict[str, Any]] = []
    must_not: list[dict[str, Any]] = []
    for key, value in filter.items():
        path = field_path(metadata_key, key)
        plain = _to_json(key, value)
        operators = plain if isinstance(plain, dict) else {"in" if isinstance(plain, list) else "eq": plain}
        unknown = [operator for operator in operators if operator not in _OPERATORS]
        if unknown or not operators:
            raise ValueError(
                f"the filter on {key!r} has {f'no operator {unknown[0]!r}' if unknown else 'no operator at all'}; "
                f"known operators are {', '.join(_OPERATORS)}, and a nested field is written '{key}.field'"
            )
        bounds = {name: _bound(key, name, operators[name]) for name in _RANGE if name in operators}
        if len({type(bound) for bound in bounds.values()}) > 1:
            raise ValueError(f"the range on {key!r} mixes numbers and dates: {value!r}")
        if bounds:
            must.append({"key": path, "range": bounds})
        if "eq" in operators:
            must.append(_equal(path, key, operators["eq"]))
        if "ne" in operators:
            must_not.append(_equal(path, key, operators["ne"]))
        if "text" in operators:
            must.append({"key": path, "match": {"text": _words(key, operators["text"])}})
        if "in" in operators:
            must.append(_any_of(path, key, operators["in"]))
        if "not_in" in operators and (excluded := _any_of(path, key, operators["not_in"])) != _NOTHING:
            must_not.append(excluded)
    clauses = {"must": must, "must_not": must_not}
    return {name: clause for name, clause in clauses.items() if clause} or None


def _to_json(key: str, value: object) -> Any:  # noqa: ANN401 - JSON
    """Convert a value as metadata is converted, so that it equals what was stored."""
    try:
        return to_json(value, "the filter", key)
    except TypeError as error:
        raise ValueError(str(error)) from error


def _equal(path: str, key: str, value: object) -> dict[str, Any]:
    """Qdrant's ``match`` accepts no floats and distinguishes ``2`` and ``2.0``, so numbers become ranges."""
    if value is None:
        return {"is_empty": {"key": path}}
    if isinstance(value, bool | str):
        return {"key": path, "match": {"value": value}}
    if isinstance(value, int) and abs(value) > _EXACT:
        return {"key": path, "match": {"value": int(value)}}
    if isinstance(value, int | float) and math.isfinite(value):
        return {"key": path, "range": {"gte": float(value), "lte": float(value)}}
    raise ValueError(
        f"the filter on {key!r} compares with {value!r}; values are strings, finite numbers, True, False or None"
    )


def _any_of(path: str, key: str, values: object) -> dict[str, Any]:
    """An empty list matches nothing."""
    if not isinstance(values, list):
        raise ValueError(f"the filter on {key!r} needs a list, got {values!r}")  # noqa: TRY004 - a ValueError for every operator
    if not values:
        return _NOTHING
    if all(isinstance(value, str) for value in values):
        return {"key": path, "match": {"any": values}}
    return {"should": [_equal(path, key, value) for value in values]}


def _words(key: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"'text' on {key!r} needs words to search for, got {value!r}")
    return value


def _bound(key: str, operator: str, value: object) -> float | str:
    if isinstance(value, str) and _DATE.fullmatch(value):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise ValueError(f"{operator!r} on {key!r} needs a finite number or an ISO 8601 date, got {value!r}")
