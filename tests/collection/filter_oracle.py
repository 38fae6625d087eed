"""Random filters, and what they find by their documentation, in plain Python."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np

from t1_vectorstore.types import AllOf, AnyOf, FilterLike, IndexKind, NoneOf, Point, json_roundtrip
from tests.collection.points import point

MISSING: Any = object()
"""Stands for a field that a point does not have."""
INDEXES: dict[str, IndexKind] = {
    "integer": "integer",
    "float": "float",
    "keyword": "keyword",
    "bool": "bool",
    "datetime": "datetime",
    "text": "text",
}
"""A field of each kind of index, named after it."""
FIELDS = ["plain", "parts[].plain", *INDEXES]
"""The fields of each point; the first two are not indexed."""

_EDGES = [0, 2**53, -(2**53), 2**60, -(2**62), 2**63, -(2**63)]
_NEAR = {number for edge in _EDGES for number in range(edge - 3, edge + 4)}
_INTEGERS = sorted(number for number in {*_NEAR, 2**60 + 300, 17} if -(2**63) <= number < 2**63)
_ALL_FLOATS = [
    *(float(edge) for edge in _EDGES),
    *(0.5, 1.0, 2.0, -2.0, -0.0, 2.5, 0.1, -0.5, -1.5, 2.0**53 + 2, 2.0**53 - 1, 2.0**60 + 256, 1e300, -1e300),
    *(2.0**63 + 2048, 2.0**63 - 1024, -(2.0**63) - 2048, -(2.0**63) + 1024, 1e17, 5e-324, 4503599627370495.5),
]
_FLOATS = [number for number in _ALL_FLOATS if json_roundtrip(number) == number]  # others are stored inexactly
_STRINGS = ["", "a", "A", "1", "true", "a b", "the Quick fox", "B a", "é", "2.0", "None"]
_DATES = ["2024-01-01", "2024-01-01T00:00:00+00:00", "2024-06-01T12:00:00Z", "1969-12-31T23:59:59.500000+00:00"]
_WHEN = [datetime(2024, 6, 1, 14, tzinfo=timezone(timedelta(hours=2))), datetime(2024, 6, 1, 12), date(2024, 1, 2)]
_LISTS: list[Any] = [[], [None], [1, 2.5], [True, 1], ["a", None], [2.0, "x"], [2**53 + 1, 0], [[1]], [_DATES[0], 3]]
_OTHERS: list[Any] = [*_LISTS, True, False, None, {}, {"a": 1}, MISSING]
STORED: list[Any] = [*_INTEGERS, *_FLOATS, *_STRINGS, *_DATES, *_WHEN, *_OTHERS]
"""The values that points have."""
_WORDS = ["a", "QUICK", "fox the", "b A", "1", "wolf"]


@dataclass(frozen=True)
class Case:
    """A filter, and whether it holds for the values of a point; ``None`` if it must be refused."""

    filter: FilterLike
    holds: Callable[[Mapping[str, Any]], bool] | None


def can_hold(field: str, value: Any) -> bool:
    """Whether a collection stores a value in a field: numbers only where its index contains them."""
    numbers = [each for each in _elements(value) if _is_number(each)]
    if field == "integer":
        return all(isinstance(each, int) for each in numbers)
    return not numbers or field != "datetime"


def points() -> tuple[list[Point], list[dict[str, Any]]]:
    """Return points, and the values of each by field; every value is in every field that can hold it."""
    draw = random.Random(3)
    columns = {}
    for field in FIELDS:
        values = [value for value in STORED if can_hold(field, value)]
        columns[field] = draw.sample(values, len(values)) + draw.choices(values, k=len(STORED) - len(values))
    records = [{field: columns[field][n] for field in FIELDS} for n in range(len(STORED))]
    return [point(str(n), metadata=_metadata(record)) for n, record in enumerate(records)], records


def cases(seed: int, count: int, *, words_need_index: bool = False) -> Iterator[Case]:
    """Yield random filters of all operators and combinations."""
    draw = random.Random(seed)
    for _ in range(count):
        yield _tree(draw, depth=draw.choice([0, 0, 1, 2]), words_need_index=words_need_index)


def _metadata(record: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {field: value for field, value in record.items() if value is not MISSING and field in INDEXES}
    if record["plain"] is not MISSING:
        metadata["plain"] = record["plain"]
    parts = record["parts[].plain"]
    metadata["parts"] = [{} if each is MISSING else {"plain": each} for each in [parts, MISSING]]
    return metadata


def _tree(draw: random.Random, depth: int, *, words_need_index: bool) -> Case:
    if depth == 0:
        return _entries([_entry(draw, words_need_index=words_need_index) for _ in range(draw.choice([1, 1, 1, 2]))])
    parts = [_tree(draw, depth - 1, words_need_index=words_need_index) for _ in range(draw.randint(1, 3))]
    tests = [part.holds for part in parts if part.holds is not None]
    refused = len(tests) < len(parts)
    kind = draw.choice([AllOf, AnyOf, NoneOf])
    combine: Any = {
        AllOf: lambda record: all(test(record) for test in tests),
        AnyOf: lambda record: any(test(record) for test in tests),
        NoneOf: lambda record: not any(test(record) for test in tests),
    }[kind]
    return Case(kind([part.filter for part in parts]), None if refused else combine)


def _entries(entries: list[tuple[str, Any, Callable[[Any], bool] | None]]) -> Case:
    """Combine entries of one dict; of two for the same field, the last one counts."""
    filter = {field: value for field, value, _ in entries}
    tests = {field: test for field, _, test in entries}

    def holds(record: Mapping[str, Any]) -> bool:
        return all(test is not None and test(record[field]) for field, test in tests.items())

    return Case(filter, None if None in tests.values() else holds)


def _entry(draw: random.Random, *, words_need_index: bool) -> tuple[str, Any, Callable[[Any], bool] | None]:
    field = draw.choice(FIELDS)
    operator = draw.choice(["eq", "is", "ne", "in", "is in", "not_in", "range", "range", "dates", "text"])
    if operator in ("eq", "is", "ne"):
        wanted = _wanted(draw, field)
        test = _equals(wanted, field)
        given = wanted if operator == "is" else {operator: wanted}
        return field, given, test and (_negated(test) if operator == "ne" else test)
    if operator in ("in", "is in", "not_in"):
        several = [_wanted(draw, field) for _ in range(draw.choice([0, 1, 2, 5, 30]))]
        tests = [_equals(wanted, field) for wanted in several]
        given = several if operator == "is in" else {operator: several}
        if None in tests:
            return field, given, None

        def among(stored: Any) -> bool:
            return any(test is not None and test(stored) for test in tests)

        return field, given, _negated(among) if operator == "not_in" else among
    if operator == "text":
        words = draw.choice(_WORDS)
        if words_need_index and draw.random() < 0.8:
            field = "text"
        if words_need_index and draw.random() < 0.8:
            field = "text"
        refused = words_need_index and field != "text"
        return field, {"text": words}, None if refused else _has_words(words)
    names = draw.sample(["gt", "gte", "lt", "lte"], draw.choice([1, 1, 2, 2, 3]))
    if operator == "dates":
        dates = {name: draw.choice([*_DATES, *_WHEN]) for name in names}
        return field, dates, None if field in ("integer", "float") else _within_dates(dates)
    bounds = {name: _number(draw) for name in names}
    below = [(_plain(bounds[name]), name == "gt") for name in ("gt", "gte") if name in bounds]
    lowest = max(below, default=None)
    too_near = lowest is not None and float(lowest[0]) == 2**63 and lowest != (2**63, True)
    refused = field == "datetime" or (field != "integer" and too_near and not _nothing_between(bounds))
    return field, bounds, None if refused else _within(bounds)


def _negated(test: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda stored: not test(stored)


def _wanted(draw: random.Random, field: str) -> Any:
    """Draw a value to compare with, sometimes in another type than it is stored in."""
    while True:
        text = draw.choice([*_STRINGS, *_DATES, *_WHEN])
        value = draw.choice([_number(draw), text, draw.choice([True, False, None])])
        if value is not None or "[]" not in field:
            return value


def _number(draw: random.Random) -> Any:
    small = [draw.randint(-3, 3), draw.randint(-9, 9) / 2]
    number: Any = draw.choice([draw.choice(_INTEGERS), draw.choice(_FLOATS), *small])
    kind = draw.randrange(8)
    if kind == 0 and isinstance(number, int):
        return np.int64(number)
    if kind == 0:
        return np.float64(number)
    if kind == 1 and abs(number) < 2**53:
        return Decimal(number)
    return number


def _elements(stored: Any) -> list[Any]:
    return [] if stored is MISSING else stored if isinstance(stored, list) else [stored]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _plain(number: Any) -> Any:
    return number.item() if isinstance(number, np.number) else number


def _text(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value


def _equals(wanted: Any, field: str) -> Callable[[Any], bool] | None:
    if wanted is None:
        return lambda stored: stored is MISSING or stored is None or stored == []
    if isinstance(wanted, bool):
        return lambda stored: any(isinstance(each, bool) and each == wanted for each in _elements(stored))
    if isinstance(wanted, int | float | Decimal | np.number):
        number = _plain(wanted)
        if number == 2**63 and field not in ("integer", "datetime"):
            return None
        return lambda stored: any(_is_number(each) and each == number for each in _elements(stored))
    return lambda stored: any(_text(each) == _text(wanted) for each in _elements(stored))


def _within(bounds: Mapping[str, Any]) -> Callable[[Any], bool]:
    plain = {name: _plain(bound) for name, bound in bounds.items()}
    return lambda stored: any(_is_number(each) and _inside(each, plain) for each in _elements(stored))


def _within_dates(bounds: Mapping[str, Any]) -> Callable[[Any], bool]:
    instants = {name: _instant(_text(bound)) for name, bound in bounds.items()}

    def holds(stored: Any) -> bool:
        found = [_instant(_text(each)) for each in _elements(stored) if isinstance(_text(each), str)]
        return any(each is not None and _inside(each, instants) for each in found)

    return holds


def _nothing_between(bounds: Mapping[str, Any]) -> bool:
    plain = {name: _plain(bound) for name, bound in bounds.items()}
    low = max(((plain[name], name == "gt") for name in ("gt", "gte") if name in plain), default=None)
    high = min(((plain[name], name == "lte") for name in ("lt", "lte") if name in plain), default=None)
    if low is None or high is None:
        return False
    return low[0] > high[0] or (low[0] == high[0] and (low[1] or not high[1]))


def _inside(value: Any, bounds: Mapping[str, Any]) -> bool:
    return (
        ("gt" not in bounds or value > bounds["gt"])
        and ("gte" not in bounds or value >= bounds["gte"])
        and ("lt" not in bounds or value < bounds["lt"])
        and ("lte" not in bounds or value <= bounds["lte"])
    )


def _instant(text: str) -> datetime | None:
    if not re.match(r"\d{4}-", text):
        return None
    parsed = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=timezone.utc)


def _has_words(words: str) -> Callable[[Any], bool]:
    def tokens(text: str) -> set[str]:
        return {token.lower() for token in re.findall(r"[^\W_]+", text)}

    def holds(stored: Any) -> bool:
        texts = [_text(each) for each in _elements(stored)]
        return any(isinstance(text, str) and tokens(words) <= tokens(text) for text in texts)

    return holds
