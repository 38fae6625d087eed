"""The types of metadata values: declared for a field, or found out from all cells of a CSV column."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, TypeAlias

from t1_vectorstore.types import IndexKind

Parser: TypeAlias = Callable[[Any], Any]
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,18})", re.ASCII)
_FLOAT = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?", re.ASCII)
INT64 = 2**63  # integers from -2**63 to 2**63 - 1 can be stored
_BOOLS = {"true": True, "false": False}


def convert(metadata: dict[str, Any], kinds: Mapping[str, IndexKind]) -> None:
    """Convert the declared fields of a record's metadata in place; ``author.born`` is a field of an object.

    Raises:
        ValueError: A value is not of the declared kind.
    """
    for name, kind in kinds.items():
        *outer, last = name.split(".")
        place: Any = metadata
        for part in outer:
            place = place.get(part) if isinstance(place, dict) else None
        if isinstance(place, dict) and last in place and (parse := _PARSERS.get(kind)):
            value = place[last]
            try:
                place[last] = [parse(each) for each in value] if isinstance(value, list) else parse(value)
            except ValueError:
                raise ValueError(f"field {name!r} must be {_NAMES[kind]} (--index-field), got {value!r:.100}") from None


def column_parsers(
    rows: Iterable[Sequence[str]], columns: Sequence[str], fixed: set[str]
) -> dict[str, Callable[[str], Any]]:
    """Return how the cells of the columns that hold only numbers, or only true and false, are parsed.

    Numbers with leading zeros or a plus sign, such as phone numbers and postal codes, are text, and so is every cell of
    their column. Empty cells say nothing.

    Args:
        rows: All rows of the file; those of another length are ignored.
        columns: Names of the columns.
        fixed: Columns that are not examined.
    """
    possible: dict[str, list[Callable[[str], Any]]] = {
        name: [_integer, _float, _bool] for name in columns if name not in fixed
    }
    filled: set[str] = set()
    for row in rows:
        if len(row) != len(columns):
            continue
        for name, cell in zip(columns, row, strict=True):
            if cell and (parsers := possible.get(name)):
                filled.add(name)
                possible[name] = [parse for parse in parsers if _fits(parse, cell)]
    return {name: parsers[0] for name, parsers in possible.items() if parsers and name in filled}


def _fits(parse: Parser, cell: str) -> bool:
    try:
        parse(cell)
    except ValueError:
        return False
    return True


def _integer(value: Any) -> int | None:  # noqa: ANN401 - JSON
    if isinstance(value, str):
        if not value:
            return None
        if _INTEGER.fullmatch(value) and -INT64 <= int(value) < INT64:
            return int(value)
    elif value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    elif isinstance(value, float) and value.is_integer():
        return int(value)
    raise ValueError(value)


def _float(value: Any) -> int | float | None:  # noqa: ANN401 - JSON
    if isinstance(value, str):
        if not value:
            return None
        if _FLOAT.fullmatch(value) and _keeps_digits(value, number := float(value)):
            return number
    elif value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    raise ValueError(value)


def _keeps_digits(value: str, number: float) -> bool:
    """Whether a float holds a number that is not too large, and of a whole one, such as an id, every digit."""
    return math.isfinite(number) and (not value.lstrip("-").isdigit() or int(number) == int(value))


def _bool(value: Any) -> bool | None:  # noqa: ANN401 - JSON
    if isinstance(value, str):
        if not value:
            return None
        if value.lower() in _BOOLS:
            return _BOOLS[value.lower()]
    elif value is None or isinstance(value, bool):
        return value
    raise ValueError(value)


# What Qdrant's index of dates reads; another spelling would be stored and never found.
_QDRANT_DATE = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?)?")


def _date(value: Any) -> str | None:  # noqa: ANN401 - JSON
    if value is None or value == "":
        return None
    if isinstance(value, str):
        parsed = (date if len(value) == len("2024-05-01") else datetime).fromisoformat(value)
        return value if _QDRANT_DATE.fullmatch(value) else parsed.isoformat()
    raise ValueError(value)


_PARSERS: Mapping[IndexKind, Parser] = {
    "integer": _integer,
    "float": _float,
    "bool": _bool,
    "datetime": _date,
}
_NAMES = {"integer": "a whole number", "float": "a number", "bool": "true or false", "datetime": "an ISO 8601 date"}
