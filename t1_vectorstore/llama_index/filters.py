"""Translates LlamaIndex's ``MetadataFilters`` into this package's filters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llama_index.core.vector_stores.types import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters

from t1_vectorstore.types import AllOf, AnyOf, FilterLike, NoneOf

_CONDITIONS: dict[FilterCondition | None, type[AllOf | AnyOf | NoneOf]] = {
    None: AllOf,
    FilterCondition.AND: AllOf,
    FilterCondition.OR: AnyOf,
    FilterCondition.NOT: NoneOf,
}


def to_filter(filters: MetadataFilters | FilterLike | None) -> FilterLike | None:
    """Translate LlamaIndex's filters; a filter of this package is returned unchanged.

    A list in the metadata matches if one of its elements does. ``text_match`` ignores upper and lower case, as
    ``text_match_insensitive`` does; on servers before Qdrant 1.19.1 both need a text index. An empty group restricts
    nothing at any level.

    Raises:
        ValueError: An unknown operator, or a value that the operator does not accept.
    """
    if not isinstance(filters, MetadataFilters):
        return filters
    parts = [to_filter(part) if isinstance(part, MetadataFilters) else _single(part) for part in filters.filters]
    restricting = [part for part in parts if part is not None]
    return _CONDITIONS[filters.condition](restricting) if restricting else None


def _single(filter: MetadataFilter) -> FilterLike:
    translate = _OPERATORS.get(filter.operator)
    if translate is None:
        known = ", ".join(repr(operator.value) for operator in _OPERATORS)
        raise ValueError(
            f"the filter on {filter.key!r} has no operator {filter.operator!r}; known operators are {known}"
        )
    return translate(filter.key, filter.value)


def _compare(operator: str) -> Callable[[str, Any], FilterLike]:
    return lambda key, value: {key: {operator: value}}


def _values(value: object) -> object:
    """LlamaIndex also writes a list of strings as one string, with commas."""
    return value.split(",") if isinstance(value, str) else value


def _all(key: str, values: object) -> FilterLike:
    if not isinstance(values, list):
        raise ValueError(f"the filter on {key!r} needs a list, got {values!r}")  # noqa: TRY004 - a ValueError for every operator
    return AllOf([{key: {"eq": value}} for value in values])


_OPERATORS: dict[FilterOperator, Callable[[str, Any], FilterLike]] = {
    FilterOperator.EQ: _compare("eq"),
    FilterOperator.NE: _compare("ne"),
    FilterOperator.GT: _compare("gt"),
    FilterOperator.GTE: _compare("gte"),
    FilterOperator.LT: _compare("lt"),
    FilterOperator.LTE: _compare("lte"),
    FilterOperator.IN: lambda key, value: {key: {"in": _values(value)}},
    FilterOperator.NIN: lambda key, value: {key: {"not_in": _values(value)}},
    FilterOperator.ANY: _compare("in"),
    FilterOperator.ALL: _all,
    FilterOperator.CONTAINS: _compare("eq"),
    FilterOperator.TEXT_MATCH: _compare("text"),
    FilterOperator.TEXT_MATCH_INSENSITIVE: _compare("text"),
    FilterOperator.IS_EMPTY: lambda key, _: {key: None},
}
