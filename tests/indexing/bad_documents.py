"""Fifty kinds of documents that cannot be stored, each with its own id."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from t1_vectorstore.engines.ids import point_id
from t1_vectorstore.types import Document


def _nested(depth: int, make: Callable[[Any], Any]) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = make(value)
    return value


def _circular() -> dict[str, Any]:
    circle: dict[str, Any] = {}
    circle["itself"] = circle
    return circle


class _RaisingDict(dict[str, Any]):
    def items(self) -> Any:
        raise ValueError("refused")


TEXTS: Mapping[str, Any] = {
    "empty": "",
    "space": " ",
    "newlines": "\n\r\n",
    "ideographic space": "\u3000\u3000",
    "separators": "\x1c\x1d\u2028\u2029",
    "surrogate": "before \ud800 after",
    "low surrogate": "\udfff",
    "surrogate in a long text": "word " * 2000 + "\ud900",
    "text none": None,
    "text bytes": b"bytes",
    "text number": 7,
    "text float": float("nan"),
    "text list": ["a", "b"],
    "text mapping": {"a": 1},
    "text path": Path("a"),
}
VALUES: Mapping[str, Any] = {
    "nan": float("nan"),
    "infinity": float("inf"),
    "minus infinity": float("-inf"),
    "numpy nan": np.float64("nan"),
    "65 bits": 2**64,
    "minus 64 bits": -(2**63) - 1,
    "a googol": 10**100,
    "more digits than python prints": 10**5000,
    "object": object(),
    "bytes": b"x",
    "bytearray": bytearray(b"x"),
    "time difference": datetime.timedelta(1),
    "decimal nan": decimal.Decimal("nan"),
    "set of bytes": {b"x"},
    "complex": 1j,
    "function": print,
    "class": dict,
    "numpy array with nan": np.array([1.0, np.nan]),
    "numpy bytes": np.array([b"x"]),
    "numpy time difference": np.timedelta64(1, "s"),
    "numpy complex": np.complex64(1j),
    "generator": (n for n in range(3)),
    "surrogate value": "\ud800",
    "surrogate deep inside": {"a": [{"b": "\udfff"}]},
    "deep lists": _nested(17, lambda value: [value]),
    "deep mappings": _nested(17, lambda value: {"a": value}),
    "deeper than python recurses": _nested(100_000, lambda value: [value]),
    "circular": _circular(),
    "nan deep inside": [{"a": [float("nan")]}],
}
METADATA: Mapping[str, Any] = {
    "key number": {1: "x"},
    "key none": {None: "x"},
    "key tuple": {(1, 2): "x"},
    "key surrogate": {"\ud800": 1},
    "metadata none": None,
    "metadata list": ["a"],
    "metadata string": "a",
    "metadata that raises": _RaisingDict(a=1),
}


def bad_documents() -> Iterator[Document]:
    """Yield one document of each kind; ``Failure.id`` must be its id."""
    for name, text in TEXTS.items():
        yield Document(text, name)
    for name, value in VALUES.items():
        yield Document("a good text", name, {"value": value})
    for name, metadata in METADATA.items():
        yield Document("a good text", name, metadata)
    yield Document("a good text", "")
    yield Document("a good text", "id \udc80")
    yield Document("a good text", 7)  # type: ignore[arg-type]
    yield Document("a good text", b"id")  # type: ignore[arg-type]
    yield Document("a good text", ("a", "b"))  # type: ignore[arg-type]


def with_taken_ids(first: Document, long: Document) -> Iterator[Document]:
    """Yield documents that are bad only because ``first`` (one chunk) and ``long`` (several) came before them."""
    assert first.id is not None
    yield Document("another text", first.id)
    yield Document(first.text, first.id, {"other": "metadata"})
    yield Document("the name of another's chunk", f"{long.id}#chunk-1")
    yield Document("an id that falls on another's point", str(point_id(first.id)))
