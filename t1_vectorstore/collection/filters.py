"""Filters on metadata: a simple dict, or Qdrant's own ``Filter``, in the one JSON form that every engine translates.

    {"country": "France"}                      equal
    {"facet": ["exports", "climate"]}          any of these
    {"year": {"gte": 2000, "lt": 2010}}        within a range; numbers, or ISO 8601 dates
    {"facet": {"ne": "x"}}, {"facet": {"not_in": ["x", "y"]}}
    {"author.name": "Ada"}                     nested; a key that itself holds a dot is quoted: {'"a.b"': 1}
    {"year": None}                             missing, null or an empty list
    {"title": {"text": "capital city"}}        all of these words, whatever their case and order (see below)

All entries must hold; ``AllOf``, ``AnyOf`` and ``NoneOf`` combine filters in other ways, to any depth. A list in the
metadata matches when any of its elements does. Numbers are compared by value (``2`` finds ``2.0``) and never equal
``True`` or ``False``. A point without the field passes ``ne`` and ``not_in``. On a field without a text index, some
versions of the server take ``text`` for one string to be found as it stands.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from t1_vectorstore.engines.ids import point_id
from t1_vectorstore.engines.schema import field_path
from t1_vectorstore.types import AllOf, AnyOf, FilterLike, IdIn, NoneOf

_RANGE = ("gt", "gte", "lt", "lte")
_OPERATORS = ("eq", "ne", "in", "not_in", *_RANGE, "text")
_NOTHING: dict[str, Any] = {"has_id": []}
_EXACT = 2**53  # beyond it a float cannot tell neighbouring integers apart
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9:.]+(Z|[+-][0-9:]+)?)?", re.ASCII)


def compile_filter(filter: FilterLike | None, metadata_key: str) -> dict[str, Any] | None:
    """Bring a filter into the JSON of Qdrant's REST interface; ``None`` when it restricts nothing.

    A dict speaks of metadata fields, a Qdrant ``Filter`` of payload keys, as they are.

    Raises:
        ValueError: an operator that does not exist, a value that an operator cannot take, a key that is no path.
        TypeError: neither a mapping nor a ``Filter``.
    """
    if filter is None:
        return None
    if isinstance(filter, Mapping):
        return _Builder(metadata_key).build(filter)
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
    """One filter of several; a part that is ``None`` holds for every point."""
    some = [part for part in parts if part is not None]
    if isinstance(filter, AllOf):
        return {"must": some} if some else None
    if isinstance(filter, AnyOf):
        nothing, holds = not parts, "should"
    else:
        nothing, holds = len(some) < len(parts), "must_not"
    if nothing:
        return {"must": [_NOTHING]}
    return {holds: some} if some and len(some) == len(parts) else None


class _Builder:
    """Collects the conditions of one dict."""

    def __init__(self, metadata_key: str) -> None:
        self._metadata_key = metadata_key
        self._must: list[dict[str, Any]] = []
        self._must_not: list[dict[str, Any]] = []

    def build(self, filter: Mapping[str, Any]) -> dict[str, Any] | None:
        for key, value in filter.items():
            self._add(field_path(self._metadata_key, key), key, value)
        clauses = {"must": self._must, "must_not": self._must_not}
        return {name: clause for name, clause in clauses.items() if clause} or None

    def _add(self, path: str, key: str, value: object) -> None:
        if not isinstance(value, Mapping):
            operator = "in" if _is_list(value) else "eq"
            value = {operator: value}
        unknown = [operator for operator in value if operator not in _OPERATORS]
        if unknown or not value:
            raise ValueError(
                f"the filter on {key!r} has {_named(unknown)}; known operators are {', '.join(_OPERATORS)}, and a "
                f"nested field is written '{key}.field'"
            )
        bounds = {operator: _bound(key, operator, value[operator]) for operator in _RANGE if operator in value}
        if len({type(bound) for bound in bounds.values()}) > 1:
            raise ValueError(f"the range on {key!r} mixes numbers and dates: {value!r}")
        if bounds:
            self._must.append({"key": path, "range": bounds})
        if "eq" in value:
            self._must.append(_equal(path, key, value["eq"]))
        if "ne" in value:
            self._must_not.append(_equal(path, key, value["ne"]))
        if "text" in value:
            self._must.append({"key": path, "match": {"text": _words(key, value["text"])}})
        if "in" in value:
            self._must.append(_any_of(path, key, value["in"]))
        if "not_in" in value:
            excluded = _any_of(path, key, value["not_in"])
            if excluded != _NOTHING:
                self._must_not.append(excluded)


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence | set | frozenset) and not isinstance(value, str | bytes)


def _named(unknown: list[Any]) -> str:
    return f"no operator {unknown[0]!r}" if unknown else "no operator at all"


def _equal(path: str, key: str, value: object) -> dict[str, Any]:
    """One value. Qdrant's ``match`` knows no floats and keeps ``2`` and ``2.0`` apart, so numbers are ranges."""
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
    """One of several values; no values at all match nothing."""
    if not _is_list(values):
        raise ValueError(f"the filter on {key!r} needs a list, got {values!r}")
    options = list(values)  # type: ignore[call-overload]
    if not options:
        return _NOTHING
    if all(isinstance(option, str) for option in options):
        return {"key": path, "match": {"any": options}}
    return {"should": [_equal(path, key, option) for option in options]}


def _words(key: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"'text' on {key!r} needs the words to look for, got {value!r}")
    return value


def _bound(key: str, operator: str, value: object) -> float | str:
    if isinstance(value, date):  # a datetime is one, too
        return value.isoformat()
    if isinstance(value, str) and _DATE.fullmatch(value):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise ValueError(f"{operator!r} on {key!r} needs a finite number or an ISO 8601 date, got {value!r}")
