"""Filters on metadata: a dict, or Qdrant's own ``Filter``.

    {"country": "France"}                      equal
    {"facet": ["exports", "climate"]}          any of these
    {"year": {"gte": 2000, "lt": 2010}}        within a range; numbers, or ISO 8601 dates
    {"facet": {"ne": "x"}}, {"facet": {"not_in": ["x", "y"]}}
    {"author.name": "Ada"}                     nested; a key that itself has a dot is quoted: {'"a.b"': 1}
    {"year": None}                             missing, null or an empty list
    {"title": {"text": "capital city"}}        all of these words, in any case and order (see below)

All entries must hold; ``AllOf``, ``AnyOf`` and ``NoneOf`` combine filters in other ways, to any depth. A list in the
metadata matches if one of its elements does. A point without the field passes ``ne`` and ``not_in``. On servers before
Qdrant 1.19.1, ``text`` needs a text index.

Numbers are compared by value and exactly, on every engine: ``2`` finds ``2.0``, and neither ``True`` nor any neighbour
beyond 2**53. Of points that another package or an earlier version stored, lists of more than four numbers find whole
numbers only where they are stored as integers.

Values are converted as metadata is (see ``t1_vectorstore.metadata``), so a filter with a datetime, a UUID or a NumPy
number finds what was stored for it. Two datetimes are equal if they are written alike; ranges compare the instants.

Qdrant's ``Filter`` is passed on unchanged: its keys are payload paths (``metadata.year``), and it has Qdrant's own
rules, by which ``match`` distinguishes ``2`` and ``2.0``, and a range on an integer index may round its bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from t1_vectorstore.collection.conditions import NOTHING, RANGE, Condition, Field, any_of, equal, has_words, within
from t1_vectorstore.engines.ids import point_id
from t1_vectorstore.engines.schema import DOCUMENT_PATH, INTEGERS_PATH, field_path
from t1_vectorstore.metadata import to_json
from t1_vectorstore.types import AllOf, AnyOf, DocumentIn, FilterLike, IdIn, NoneOf


def _any_of_list(field: Field, values: object) -> Condition:
    if not isinstance(values, list):
        raise ValueError(f"the filter on {field.key!r} needs a list, got {values!r}")  # noqa: TRY004 - a ValueError for every operator
    return any_of(field, values)


_CONDITIONS: Mapping[str, tuple[Callable[[Field, Any], Condition], bool]] = {
    "eq": (equal, False),
    "ne": (equal, True),
    "in": (_any_of_list, False),
    "not_in": (_any_of_list, True),
    "text": (has_words, False),
}
"""The condition of each operator, and whether it is negated. Those of ``RANGE`` make one condition together."""
_OPERATORS = (*_CONDITIONS, *RANGE)


def compile_filter(
    filter: FilterLike | None,
    metadata_key: str,
    indexes: Mapping[str, str] | None = None,
    *,
    words_need_index: Callable[[], bool] = lambda: False,
) -> dict[str, Any] | None:
    """Translate a filter into the JSON of Qdrant's REST interface; ``None`` if it restricts nothing.

    The keys of a dict are metadata fields. Those of a Qdrant ``Filter`` are payload paths, which are left unchanged.

    Args:
        filter: The filter.
        metadata_key: Payload key of the metadata.
        indexes: Kinds of the payload indexes, by payload path.
        words_need_index: Returns whether the engine compares words only in fields with a text index.

    Raises:
        ValueError: An unknown operator, a value that the operator does not accept or that the field's index cannot
            find, or a key that is not a path.
        TypeError: Neither a mapping nor a ``Filter``.
    """
    return _Compiler(metadata_key, indexes or {}, words_need_index=words_need_index).compile(filter)


class _Compiler:
    """Translates filters for one collection."""

    def __init__(self, metadata_key: str, indexes: Mapping[str, str], *, words_need_index: Callable[[], bool]) -> None:
        self._metadata_key = metadata_key
        self._indexes = indexes
        self._words_need_index = words_need_index

    def compile(self, filter: FilterLike | None) -> dict[str, Any] | None:
        if filter is None:
            return None
        if isinstance(filter, Mapping):
            return self._compile_dict(filter)
        if isinstance(filter, IdIn):
            return {"must": [{"has_id": [point_id(given) for given in filter.ids]}]}
        if isinstance(filter, DocumentIn):  # a point of another package is a document by its own id
            by_document = {"key": DOCUMENT_PATH, "match": {"any": list(filter.ids)}}
            return {"should": [by_document, {"has_id": [point_id(given) for given in filter.ids]}]}
        if isinstance(filter, AllOf | AnyOf | NoneOf):
            return _combine(filter, [self.compile(part) for part in filter.filters])
        dump = getattr(filter, "model_dump", None)
        if type(filter).__name__ != "Filter" or dump is None:
            raise TypeError(
                f"a filter is a dict or a qdrant_client.models.Filter, not {type(filter).__name__}: {filter!r}"
            )
        clauses = dump(mode="json", by_alias=True, exclude_none=True)
        return {name: clause for name, clause in clauses.items() if clause != []} or None

    def _compile_dict(self, filter: Mapping[str, Any]) -> dict[str, Any] | None:
        must: list[Condition] = []
        must_not: list[Condition] = []
        for key, value in filter.items():
            field = self._field(key)
            operators = _operators(key, value)
            if bounds := {name: operators[name] for name in RANGE if name in operators}:
                must.append(within(field, bounds))
            for name, (condition, negated) in _CONDITIONS.items():
                if name in operators:
                    (must_not if negated else must).append(condition(field, operators[name]))
        must_not = [condition for condition in must_not if condition != NOTHING]
        clauses = {"must": must, "must_not": must_not}
        return {name: clause for name, clause in clauses.items() if clause} or None

    def _field(self, key: str) -> Field:
        path = field_path(self._metadata_key, key)
        integers_path = field_path(INTEGERS_PATH, key)
        return Field(key, path, integers_path, self._indexes.get(path), self._words_need_index)


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
        return {"must": [NOTHING]}
    return {clause: restricting} if restricting and len(restricting) == len(parts) else None


def _operators(key: str, value: object) -> dict[str, Any]:
    """Return the operators of an entry with their values, converted as metadata is."""
    try:
        plain = to_json(value, "the filter", key)
    except TypeError as error:
        raise ValueError(str(error)) from error
    operators = plain if isinstance(plain, dict) else {"in" if isinstance(plain, list) else "eq": plain}
    unknown = [operator for operator in operators if operator not in _OPERATORS]
    if unknown or not operators:
        raise ValueError(
            f"the filter on {key!r} has {f'no operator {unknown[0]!r}' if unknown else 'no operator at all'}; "
            f"known operators are {', '.join(_OPERATORS)}, and a nested field is written '{key}.field'"
        )
    return operators
