"""Filters as the types of qdrant-edge."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import qdrant_edge as edge

from t1_vectorstore.engines.base import FilterJSON

_CLAUSES = ("must", "should", "must_not")


def edge_filter(filter: FilterJSON) -> edge.Filter:
    """Translate a filter.

    Raises:
        ValueError: The filter has a condition that the embedded engine does not have.
    """
    clauses: dict[str, Any] = {name: _conditions(filter[name]) for name in _CLAUSES if filter.get(name)}
    if few := filter.get("min_should"):
        clauses["min_should"] = edge.MinShould(_conditions(few["conditions"]), few["min_count"])
    return edge.Filter(**clauses)


def _conditions(given: Any) -> list[Any]:  # noqa: ANN401 - JSON
    return [_condition(condition) for condition in ([given] if isinstance(given, Mapping) else given)]


def _condition(condition: Mapping[str, Any]) -> Any:  # noqa: ANN401 - one of Edge's condition types
    if "key" in condition:
        translated = {
            name: _FIELD_TESTS[name](value) if name in _FIELD_TESTS else value for name, value in condition.items()
        }
        return edge.FieldCondition(**translated)
    if any(name in condition for name in (*_CLAUSES, "min_should")):
        return edge_filter(condition)
    if len(condition) == 1:
        ((kind, value),) = condition.items()
        if kind in _CONDITIONS:
            return _CONDITIONS[kind](value)
    raise ValueError(f"the embedded engine does not have the filter condition {dict(condition)!r}; use a server for it")


def _match(match: Mapping[str, Any]) -> Any:  # noqa: ANN401 - one of Edge's match types
    ((kind, value),) = match.items()
    if kind not in _MATCHES:
        raise ValueError(f"the embedded engine does not have the match {dict(match)!r}; use a server for it")
    return _MATCHES[kind](value)


def _match_value(value: Any) -> edge.MatchValue:  # noqa: ANN401 - a string, number or boolean
    """Edge takes Python's ``True`` for the integer 1. NumPy's is not an integer, so it stays a boolean."""
    plain: Any = np.bool_(value) if isinstance(value, bool) else value
    return edge.MatchValue(plain)


def _range(bounds: Mapping[str, Any]) -> edge.RangeFloat | edge.RangeDateTime:
    has_dates = any(isinstance(bound, str) for bound in bounds.values())
    return edge.RangeDateTime(**bounds) if has_dates else edge.RangeFloat(**bounds)


def _geo_point(point: Mapping[str, float]) -> edge.GeoPoint:
    return edge.GeoPoint(point["lon"], point["lat"])


def _ring(ring: Mapping[str, Any]) -> list[edge.GeoPoint]:
    return [_geo_point(point) for point in ring["points"]]


_CONDITIONS: dict[str, Callable[[Any], Any]] = {
    "is_empty": lambda value: edge.IsEmptyCondition(value["key"]),
    "is_null": lambda value: edge.IsNullCondition(value["key"]),
    "has_id": lambda value: edge.HasIdCondition(set(value)),
    "has_vector": edge.HasVectorCondition,
    "nested": lambda value: edge.NestedCondition(value["key"], edge_filter(value["filter"])),
}
_MATCHES: dict[str, Callable[[Any], Any]] = {
    "value": _match_value,
    "any": edge.MatchAny,
    "except": edge.MatchExcept,
    "text": edge.MatchText,
    "text_any": edge.MatchTextAny,
    "phrase": edge.MatchPhrase,
    "prefix": edge.MatchPrefix,
    "substring": edge.MatchSubstring,
}
_FIELD_TESTS: dict[str, Callable[[Any], Any]] = {
    "match": _match,
    "range": _range,
    "geo_bounding_box": lambda box: edge.GeoBoundingBox(_geo_point(box["top_left"]), _geo_point(box["bottom_right"])),
    "geo_radius": lambda circle: edge.GeoRadius(_geo_point(circle["center"]), circle["radius"]),
    "geo_polygon": lambda area: edge.GeoPolygon(_ring(area["exterior"]), [_ring(r) for r in area.get("interiors", [])]),
    "values_count": lambda bounds: edge.ValuesCount(**bounds),
}
