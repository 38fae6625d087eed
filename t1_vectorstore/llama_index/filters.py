"""LlamaIndex's ``MetadataFilters`` in terms of this package's filters."""

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
    """Translate a framework's filter; one of this package's passes as it is.

    A list in the metadata matches when any of its elements does. ``text_match`` finds words, whatever their case, as
    ``text_match_insensitive`` does. An empty group restricts nothing, wherever it stands.

    Raises:
        ValueError: an operator that does not exist, or a value that it cannot take.
    """
    if not isinstance(filters, MetadataFilters):
        return filters
    parts = [to_filter(part) if isinstance(part, MetadataFilters) else _leaf(part) for part in filters.filters]
    some = [part for part in parts if part is not None]
    return _CONDITIONS[filters.condition](some) if some else None


def _leaf(filter: MetadataFilter) -> FilterLike:
    translate = _OPERATORS.get(filter.operator)
    if translate is None:
        known = ", ".join(repr(operator.value) for operator in _OPERATORS)
        raise ValueError(f"the filter on {filter.key!r} has no operator {filter.operator!r}; known are {known}")
    return translate(filter.key, filter.value)


def _is(operator: str) -> Callable[[str, Any], FilterLike]:
    return lambda key, value: {key: {operator: value}}


def _all(key: str, values: object) -> FilterLike:
    if not isinstance(values, list):
        raise ValueError(f"the filter on {key!r} needs a list, got {values!r}")  # noqa: TRY004 - as with every operator
    return AllOf([{key: {"eq": value}} for value in values])


_OPERATORS: dict[FilterOperator, Callable[[str, Any], FilterLike]] = {
    FilterOperator.EQ: _is("eq"),
    FilterOperator.NE: _is("ne"),
    FilterOperator.GT: _is("gt"),
    FilterOperator.GTE: _is("gte"),
    FilterOperator.LT: _is("lt"),
    FilterOperator.LTE: _is("lte"),
    FilterOperator.IN: _is("in"),
    FilterOperator.NIN: _is("not_in"),
    FilterOperator.ANY: _is("in"),
    FilterOperator.ALL: _all,
    FilterOperator.CONTAINS: _is("eq"),
    FilterOperator.TEXT_MATCH: _is("text"),
    FilterOperator.TEXT_MATCH_INSENSITIVE: _is("text"),
    FilterOperator.IS_EMPTY: lambda key, _: {key: None},
}
