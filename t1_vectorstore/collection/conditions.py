"""Conditions on one metadata field, in the JSON of Qdrant's filters, that mean the same on every engine.

Qdrant has two conditions on numbers. Both depend on how a number is stored, and on the index of the field:

- ``match`` compares integers exactly, but does not find ``2.0`` for ``2``. A list costs no more
  than a single value.
- ``range`` compares as 64-bit floats, which cannot tell integers beyond 2**53 apart. An integer index does not contain
  floats, and on older servers truncates the bounds. A datetime index takes the bounds for times.

So the conditions here are composed of both, by the value and the kind of the index. Numbers that the index of their
field does not contain are not stored; see ``collection/payload.py``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Generic, TypeAlias, TypeVar

from pydantic import TypeAdapter, ValidationError
from typing_extensions import NamedTuple

from t1_vectorstore.metadata import INT64
from t1_vectorstore.types import json_roundtrip

Condition: TypeAlias = dict[str, Any]
_Value = TypeVar("_Value", float, datetime)

NOTHING: Condition = {"has_id": []}
"""Matches no point."""
RANGE = ("gt", "gte", "lt", "lte")
"""The operators of ``within``."""
FLOATS_NOT_INDEXED = ("integer", "datetime")
"""Kinds of indexes that do not contain floats."""
_EXACT = 2**53
"""Integers below it, and floats, are compared exactly by a range. From here on, floats are whole numbers."""
_MAX_RANGES_IN_LIST = 4
"""Up to this many numbers, a list is compared by ranges, which also find whole floats that another package stored."""
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9:.]+(Z|[+-][0-9:]+)?)?", re.ASCII)
_DATETIME = TypeAdapter(datetime)


class _End(NamedTuple, Generic[_Value]):
    """One end of a range, and whether it belongs to the range."""

    value: _Value
    included: bool


@dataclass(frozen=True, slots=True)
class Field:
    """A metadata field as a filter names it.

    Attributes:
        key: Its name in the filter.
        path: Payload path of its values.
        integers_path: Payload path at which those of its values that are whole floats are stored as integers.
        kind: Kind of its index; ``None`` without one.
        words_need_index: Returns whether the engine compares words only in fields with a text index.
    """

    key: str
    path: str
    integers_path: str
    kind: str | None = None
    words_need_index: Callable[[], bool] = lambda: False


def equal(field: Field, value: object) -> Condition:
    """Return the condition that an element equals a value; ``None`` equals a missing value and an empty list."""
    if value is None:
        return {"is_empty": {"key": field.path}}
    if isinstance(value, bool | str):
        return {"key": field.path, "match": {"value": value}}
    if isinstance(value, int | float):
        return _equal_number(field, value)
    raise ValueError(
        f"the filter on {field.key!r} compares with {value!r}; values are strings, finite numbers, True, False or None"
    )


def any_of(field: Field, values: Iterable[object]) -> Condition:
    """Return the condition that an element equals one of some values, at the cost of few conditions."""
    strings: list[str] = []
    integers: dict[int, None] = {}  # a set in the order of the values
    others: list[object] = []
    for value in values:
        if isinstance(value, str):
            strings.append(value)
        elif isinstance(value, int | float) and not isinstance(value, bool) and (whole := _integer(value)) is not None:
            integers[whole] = None
        else:
            others.append(value)
    if len(integers) <= _MAX_RANGES_IN_LIST and field.kind not in FLOATS_NOT_INDEXED:
        others += integers
        integers = {}
    conditions = [equal(field, value) for value in others]
    if strings:
        conditions.append({"key": field.path, "match": {"any": strings}})
    if integers:
        conditions.append(_any_integer(field, integers))
    return _either(conditions)


def within(field: Field, bounds: Mapping[str, object]) -> Condition:
    """Return the condition that an element is within bounds, by operator: all numbers, or all ISO 8601 dates."""
    values = {operator: _bound(field, operator, value) for operator, value in bounds.items()}
    if len({isinstance(value, datetime) for value in values.values()}) > 1:
        raise ValueError(f"the range on {field.key!r} mixes numbers and dates: {dict(bounds)!r}")
    dates = {operator: value for operator, value in values.items() if isinstance(value, datetime)}
    if (field.kind in ("integer", "float")) if dates else (field.kind == "datetime"):
        given, wanted = ("dates", "datetime") if dates else ("numbers", "integer or float")
        raise ValueError(
            f"{field.key!r} is indexed as {field.kind}, which cannot be searched by a range of {given}: "
            f"{dict(bounds)!r}; for that, create the collection with an index of kind {wanted}, or without one"
        )
    if dates:
        first, last = _ends(dates)
        return NOTHING if _is_empty(first, last) else _range(field, _bounds(first, last, datetime.isoformat))
    lower, upper = _ends({operator: value for operator, value in values.items() if not isinstance(value, datetime)})
    return _numbers_within(field, lower, upper)


def has_words(field: Field, words: object) -> Condition:
    """Return the condition that a text has all of some words, in any case and order."""
    if not isinstance(words, str) or not words.strip():
        raise ValueError(f"'text' on {field.key!r} needs words to search for, got {words!r}")
    if field.kind != "text" and field.words_need_index():
        raise ValueError(
            f"'text' on {field.key!r} needs a text index on this server, since before Qdrant 1.19.1 it compares "
            f"other fields letter by letter; create the collection with indexes={{{field.key!r}: 'text'}}, add a "
            f"text index of {field.path!r} on the server and open the collection again, or upgrade the server"
        )
    return {"key": field.path, "match": {"text": words}}


def _bound(field: Field, operator: str, value: object) -> float | datetime:
    if isinstance(value, str) and _DATE.fullmatch(value):
        try:
            parsed = _DATETIME.validate_python(value)
        except ValidationError:
            raise ValueError(
                f"{operator!r} on {field.key!r} has {value!r}, which is not a date that exists; write for example "
                "2024-05-01, or 2024-05-01T12:00:00Z"
            ) from None
        return parsed if parsed.tzinfo else parsed.replace(tzinfo=timezone.utc)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    raise ValueError(f"{operator!r} on {field.key!r} needs a finite number or an ISO 8601 date, got {value!r}")


def _ends(bounds: Mapping[str, _Value]) -> tuple[_End[_Value] | None, _End[_Value] | None]:
    """Return the lower and the upper end of a range.

    If there are two bounds on one side, the stricter one counts; an index would use either.
    """
    lower = [_End(bounds[operator], operator == "gte") for operator in ("gt", "gte") if operator in bounds]
    upper = [_End(bounds[operator], operator == "lte") for operator in ("lt", "lte") if operator in bounds]
    return max(lower, key=lambda end: (end.value, not end.included), default=None), min(upper, default=None)


def _bounds(
    lower: _End[_Value] | None, upper: _End[_Value] | None, convert: Callable[[_Value], float | str]
) -> dict[str, float | str]:
    bounds = {} if lower is None else {"gte" if lower.included else "gt": convert(lower.value)}
    return bounds if upper is None else {**bounds, "lte" if upper.included else "lt": convert(upper.value)}


def _is_empty(lower: _End[_Value] | None, upper: _End[_Value] | None) -> bool:
    """Return whether nothing is between two ends. Engines are not asked, since some fail then."""
    if lower is None or upper is None:
        return False
    return lower.value > upper.value or (lower.value == upper.value and not (lower.included and upper.included))


def _numbers_within(field: Field, lower: _End[float] | None, upper: _End[float] | None) -> Condition:
    # 1. An integer index contains no other numbers: round inwards.
    if field.kind == "integer":
        lower = max(_End(-INT64, True), _End(-INT64 if lower is None else _first_integer(lower), True))
        upper = min(_End(INT64 - 1, True), _End(INT64 - 1 if upper is None else _last_integer(upper), True))
    if _is_empty(lower, upper):
        return NOTHING

    # 2. Where engines may round stored integers or the bound itself, move the bound inwards to a float that is safe,
    #    and list the integers in between.
    #    Ends that include all 64-bit integers, or none, need no care: rounding changes nothing.
    listed: list[int] = []
    first = -INT64 if lower is None else max(-INT64, _first_integer(lower))
    last = INT64 - 1 if upper is None else min(INT64 - 1, _last_integer(upper))
    if lower is not None and _is_rounded(lower.value) and lower not in (_End(-INT64, True), _End(INT64, False)):
        if float(lower.value) == INT64 and field.kind != "integer":  # a float of this size is none of the integers
            raise _inexact(field, lower.value)
        safe = _next_float(lower.value, math.inf)
        listed += range(first, min(math.ceil(safe), last + 1))
        lower = _End(safe, True)
    unbounded = _End(INT64 - 1 if field.kind == "integer" else INT64, True)
    if upper is not None and _is_rounded(upper.value) and upper != unbounded:
        safe = _next_float(upper.value, -math.inf)
        listed += range(max(math.floor(safe) + 1, first), last + 1)
        upper = _End(safe, True)

    # 3. A number is inside if it is in the range or in the list.
    conditions = [_any_integer(field, dict.fromkeys(listed))] if listed else []
    if not _is_empty(lower, upper):
        lower = lower and _End(_widened(lower.value, min if lower.included else max), lower.included)
        upper = upper and _End(_widened(upper.value, max if upper.included else min), upper.included)
        conditions.append(_range(field, _bounds(lower, upper, float)))
    return _either(conditions)


def _first_integer(lower: _End[float]) -> int:
    return math.ceil(lower.value) if lower.included else math.floor(lower.value) + 1


def _last_integer(upper: _End[float]) -> int:
    return math.floor(upper.value) if upper.included else math.ceil(upper.value) - 1


def _is_rounded(number: float) -> bool:
    """Return whether a range may confuse this whole number with a neighbour.

    That is so if it is 2**53 or larger, or if Qdrant's JSON changes it.
    """
    if abs(number) > INT64 or number != int(number):
        return False
    return abs(number) >= _EXACT or json_roundtrip(float(number)) != number


def _next_float(number: float, towards: float) -> float:
    """Return the next float that Qdrant's JSON does not change."""
    found = math.nextafter(number, towards)
    while json_roundtrip(found) != found:
        found = math.nextafter(found, towards)
    return found


def _widened(bound: float, choose: Callable[[float, float], float]) -> float:
    """Return the bound, moved outwards if Qdrant's JSON changes it, so that stored floats equal to it count alike."""
    return choose(float(bound), json_roundtrip(float(bound)))


def _equal_number(field: Field, number: float) -> Condition:
    whole = _integer(number)
    if whole is not None and (field.kind in FLOATS_NOT_INDEXED or _is_rounded(number)):
        return _any_integer(field, [whole])
    if field.kind in FLOATS_NOT_INDEXED:
        return NOTHING
    if number == INT64:
        raise _inexact(field, number)
    stored = sorted({float(number), json_roundtrip(float(number))})  # an index has it before Qdrant's JSON changes it
    return _either([_range(field, {"gte": each, "lte": each}) for each in stored])


def _any_integer(field: Field, integers: Iterable[int]) -> Condition:
    """Return the condition that an element equals one of some 64-bit integers, which may be stored as a float."""
    match = {"any": list(integers)}
    stored_as_integer = {"key": field.path, "match": match}
    if field.kind in FLOATS_NOT_INDEXED:
        return stored_as_integer
    return {"should": [stored_as_integer, {"key": field.integers_path, "match": match}]}


def _integer(number: float) -> int | None:
    """Return a number as an integer of 64 bits, if it is one."""
    whole = int(number)
    return whole if whole == number and -INT64 <= whole < INT64 else None


def _inexact(field: Field, number: float) -> ValueError:
    return ValueError(
        f"the filter on {field.key!r} has {number!r}, which cannot be compared exactly with the largest 64-bit "
        "integers; give another number"
    )


def _range(field: Field, bounds: Mapping[str, float | str]) -> Condition:
    return {"key": field.path, "range": dict(bounds)}


def _either(conditions: list[Condition]) -> Condition:
    """Return the condition that one of some conditions holds."""
    possible = [condition for condition in conditions if condition != NOTHING]
    if len(possible) < 2:
        return possible[0] if possible else NOTHING
    return {"should": possible}
