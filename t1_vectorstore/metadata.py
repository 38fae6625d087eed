"""Metadata as JSON: what is stored, hashed, and compared by filters.

| type | is stored as |
|---|---|
| ``datetime``, ``date``, ``time`` | ISO 8601: ``"2024-05-01T12:00:00+00:00"``, ``"2024-05-01"`` |
| ``UUID``, ``PurePath`` | string |
| ``Enum`` | its value |
| ``Decimal`` | float; a whole number that a float cannot hold, as an integer |
| ``set``, ``frozenset`` | sorted list |
| ``tuple`` and other sequences | list |
| NumPy scalar or array | the Python value, or lists of them; ``datetime64`` as ISO 8601 |

Everything else that JSON does not have is refused: bytes, NaN and infinity, integers of more than 64 bits, keys that
are not strings, and objects of other types.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import date, time
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

from t1_vectorstore.errors import InvalidText

MAX_DEPTH = 16
"""Maximum nesting of metadata. Protobuf ends at about 30 levels; a payload of more than 127 can be written but not
read."""
INT64 = 2**63
"""Integers from ``-INT64`` to ``INT64 - 1`` can be stored."""


def to_json(value: object, name: str, path: str = "metadata", depth: int = 1) -> Any:  # noqa: ANN401 - JSON
    """Return a value in plain JSON types, converted as this module describes.

    Args:
        value: Metadata, or one of its values.
        name: Names its owner in errors, such as ``the point 'a'``.
        path: Names the value in errors.
        depth: Level at which the value is nested.

    Raises:
        ValueError: A value that JSON or Qdrant does not have, or a text (``InvalidText``) that cannot be encoded.
        TypeError: A value of a type that is not converted, or a key that is not a string.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        check_text(value, f"{name} ({path})")
        return str.__str__(value)
    if isinstance(value, int):
        if not -INT64 <= value < INT64:
            raise ValueError(f"{name} has {path} = {value}, which needs more than 64 bits; store it as a string")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{name} has {path} = {value}, which JSON does not have; use None")
        return float(value)
    if depth > MAX_DEPTH:
        raise ValueError(f"{name} has metadata nested deeper than {MAX_DEPTH} levels, at {path[:200]}")
    if isinstance(value, Mapping):
        plain = {}
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"{name} has the key {short_repr(key)} in {path}; keys must be strings")
            check_text(key, f"{name} ({path})")
            plain[str.__str__(key)] = to_json(item, name, f"{path}.{key}", depth + 1)
        return plain
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return _list(value, name, path, depth)
    if isinstance(value, Set):
        return _sorted(_list(value, name, path, depth))
    return to_json(_as_python(value, name, path), name, path, depth + 1)


def check_text(text: object, name: str) -> None:
    """Refuse a text that is not a string or cannot be encoded; ``name`` names its owner in errors."""
    if not isinstance(text, str):
        raise TypeError(f"{name} has {type(text).__name__} instead of a string: {short_repr(text)}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidText(
            f"{name} has the lone surrogate {text[error.start]!r} at character {error.start}, which UTF-8 cannot "
            "encode; replace it, for example with text.encode('utf-8', 'replace').decode()"
        ) from error


def short_repr(value: object) -> str:
    """Return the ``repr`` of a value, cut after 100 characters if it is longer than 120."""
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:100]}... ({len(text)} characters)"


def _list(items: Iterable[object], name: str, path: str, depth: int) -> list[Any]:
    return [to_json(item, name, f"{path}[{index}]", depth + 1) for index, item in enumerate(items)]


def _sorted(items: list[Any]) -> list[Any]:
    """Sort the elements of a set: its own order changes from process to process, and so would the hash of a chunk."""
    try:
        return sorted(items)
    except TypeError:  # of several types
        return sorted(items, key=lambda item: json.dumps(item, sort_keys=True))


def _as_python(value: Any, name: str, path: str) -> Any:  # noqa: ANN401 - any object, and what it stands for
    """Return what a value of another type stands for."""
    if isinstance(value, date | time) and value == value:  # a datetime is a date; pandas' NaT is one, too
        return value.isoformat()
    if isinstance(value, UUID | PurePath):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Decimal):
        number = float(value)
        return int(value) if value.is_finite() and number != value == value.to_integral_value() else number
    dtype: Any = getattr(value, "dtype", None)
    if getattr(dtype, "kind", "-") in "biufUMO":
        # NumPy returns an integer for a datetime64 that is finer than Python's microseconds.
        too_fine = dtype.str.endswith(("[ns]", "[ps]", "[fs]", "[as]"))
        return (value.astype("datetime64[us]") if too_fine else value).tolist()
    raise TypeError(
        f"{name} has {path} = {short_repr(value)} of type {type(value).__name__}, which is not converted to JSON; give "
        "a string, number, True, False, None, list or mapping instead"
    )
