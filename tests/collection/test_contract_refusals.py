"""Invalid input that a collection refuses, and lost writes that it detects, on every engine."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from t1_vectorstore.collection import Collection
from t1_vectorstore.collection.writer import BATCH_POINTS
from t1_vectorstore.errors import InvalidText, WriteNotVerified
from t1_vectorstore.types import Chunk, Point
from tests.collection.points import DIMENSION, point, points, vector


@pytest.mark.parametrize(
    ("bad", "error"), [("", InvalidText), ("a\ud800", InvalidText), (7, TypeError), (None, TypeError)]
)
def test_invalid_ids_are_refused(collection: Collection, bad: Any, error: type[Exception]) -> None:
    for call in (
        lambda: collection.upsert([Point(Chunk(bad, "d", "t", 0, 1), vector(1))]),
        lambda: collection.get([bad]),
        lambda: collection.delete(["fine", bad]),
        lambda: collection.content_hashes([bad]),
    ):
        with pytest.raises(error):
            call()


def test_an_id_that_is_the_hash_of_another_id_is_refused(collection: Collection) -> None:
    from t1_vectorstore.engines.ids import point_id

    hashed = str(point_id("some id"))
    collection.upsert([point("some id")])
    with pytest.raises(ValueError, match="hash of the other"):
        collection.upsert([point("fine"), point(hashed)])
    assert collection.get([hashed]) == {}
    assert collection.delete([hashed]) == 0
    assert [chunk.id for chunk in collection.scroll()] == ["some id"]
    with pytest.raises(ValueError, match="hash of the other"):
        collection.upsert([point("other id"), point(str(point_id("other id")))])


def test_two_contents_of_one_id_in_one_call_are_refused(collection: Collection) -> None:
    with pytest.raises(ValueError, match="'a' occurs twice"):
        collection.upsert([point("b"), point("a", "one"), point("a", "two")])
    assert collection.count() == 0
    # also in different batches of one call
    with pytest.raises(ValueError, match=r"'doc 0' occurs twice.*\(256 points were stored before\)") as caught:
        collection.upsert([*points(BATCH_POINTS + 10), point("doc 0", "another")])
    assert caught.value.stored == BATCH_POINTS  # type: ignore[attr-defined]
    assert collection.count() == BATCH_POINTS
    assert collection.upsert([*points(BATCH_POINTS + 10), next(points(1))]) == BATCH_POINTS + 11


def test_integer_ids_with_the_same_hash_in_python_are_different_points(collection: Collection) -> None:
    large = str(2**61 - 1)
    assert hash(int(large)) == hash(0)
    collection.upsert([point(large, "old")])
    collection.upsert([point("0"), *points(BATCH_POINTS), point(large, "new")])
    assert collection.get([large])[large].text == "new"


@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        ([float("nan")] + [1.0] * 7, ValueError, "nan at position 0"),
        ([1.0] * 7 + [float("-inf")], ValueError, "-inf at position 7"),
        ([0.0] * 8, ValueError, "zeros"),
        ([1.0] * 7, ValueError, r"shape \(7,\).* 8 dimensions"),
        ([[1.0] * 8], ValueError, "shape"),
        ([], ValueError, "shape"),
        (["1"] * 8, TypeError, "real numbers"),
        ([1j] * 8, TypeError, "real numbers"),
        (None, TypeError, "real numbers"),
    ],
)
def test_an_invalid_vector_stores_nothing_of_its_batch(
    collection: Collection, bad: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        collection.upsert([point("good"), Point(point("the bad one").chunk, bad if bad is None else np.array(bad))])
    assert "'the bad one'" in str(caught.value)
    assert caught.value.stored == 0  # type: ignore[attr-defined]
    assert collection.count() == 0
    with pytest.raises(error, match=words):
        collection.search(bad)


def test_batches_before_an_invalid_point_stay_stored(collection: Collection) -> None:
    def stream() -> Iterator[Point]:
        yield from points(BATCH_POINTS * 2 + 5)
        yield point("bad", at=np.full(DIMENSION, np.nan))

    with pytest.raises(ValueError, match=rf"'bad'.*\({BATCH_POINTS * 2} points were stored before\)") as caught:
        collection.upsert(stream())
    assert caught.value.stored == BATCH_POINTS * 2  # type: ignore[attr-defined]
    assert collection.count() == BATCH_POINTS * 2


def test_exceptions_of_the_iterable_pass_unchanged(collection: Collection) -> None:
    def stream() -> Iterator[Point]:
        yield from points(BATCH_POINTS + 5)
        raise KeyError("of the reader")

    with pytest.raises(KeyError, match="of the reader"):
        collection.upsert(stream())
    assert collection.count() == BATCH_POINTS


@pytest.mark.parametrize(
    ("metadata", "error", "words"),
    [
        ({"a": float("nan")}, ValueError, "metadata.a = nan"),
        ({"a": [1, {"b": float("inf")}]}, ValueError, r"metadata.a\[1\].b = inf"),
        ({"a": 2**63}, ValueError, "64 bits"),
        ({"a": -(2**63) - 1}, ValueError, "64 bits"),
        ({1: "a"}, TypeError, "keys must be strings"),
        ({"a": {None: 1}}, TypeError, "keys must be strings"),
        ({"a": b"bytes"}, TypeError, "of type bytes"),
        ({"a": {"b": [object()]}}, TypeError, r"metadata\.a\.b\[0\] = .* of type object"),
        ({"a": np.float32("nan")}, ValueError, "metadata.a = nan"),
        ({"a": np.array([1, np.inf])}, ValueError, r"metadata\.a\[1\] = inf"),
        ({"a": np.array([b"x"])}, TypeError, "of type ndarray"),
        ({"a": np.timedelta64(1, "s")}, TypeError, "of type timedelta64"),
        ({"a": Decimal("nan")}, ValueError, "metadata.a = nan"),
        ({"a": Decimal(2**63 + 1)}, ValueError, "64 bits"),
        ({"a": 1j}, TypeError, "of type complex"),
        ({"a": timedelta(1)}, TypeError, "of type timedelta"),
        ({"a": "\udcff"}, InvalidText, "lone surrogate"),
        ({"\udcff": "a"}, InvalidText, "lone surrogate"),
        ([("a", 1)], TypeError, "must be a mapping"),
        (None, TypeError, "must be a mapping"),
    ],
)
def test_metadata_that_is_not_json_is_refused(
    collection: Collection, metadata: Any, error: type[Exception], words: str
) -> None:
    bad = Point(Chunk("the bad one", "d", "text", 0, 4, metadata=metadata), vector(1))
    with pytest.raises(error, match=words) as caught:
        collection.upsert([point("good"), bad])
    assert "'the bad one'" in str(caught.value)
    assert collection.count() == 0


def test_the_nesting_of_metadata_is_limited(collection: Collection) -> None:
    def nested(depth: int) -> dict[str, Any]:
        return {"a": nested(depth - 1)} if depth else {"leaf": 1}

    assert collection.upsert([point("deep", metadata=nested(15))]) == 1
    assert collection.get(["deep"])["deep"].metadata == nested(15)
    with pytest.raises(ValueError, match="deeper than 16 levels"):
        collection.upsert([point("deeper", metadata=nested(16))])
    with pytest.raises(ValueError, match="deeper than 16 levels"):
        collection.upsert([point("bottomless", metadata=nested(500))])


def test_metadata_is_converted_to_plain_json_types(collection: Collection) -> None:
    metadata = {"tuple": (1, 2), "double": np.float64(1.5), "mapping": {"a": True}}
    collection.upsert([point("a", metadata=metadata)])
    found = collection.get(["a"])["a"].metadata
    assert found == {"tuple": [1, 2], "double": 1.5, "mapping": {"a": True}}
    assert type(found["double"]) is float


@pytest.mark.parametrize("text", ["\ud800", "fine\udfff", "\x00", "", " ", "😀", "x" * 2**20, "\r\n\u2028\ufeff"])
def test_text_is_stored_exactly_or_refused(collection: Collection, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        with pytest.raises(InvalidText, match="lone surrogate"):
            collection.upsert([point("a", text)])
        assert collection.count() == 0
    else:
        collection.upsert([point("a", text)])
        assert collection.get(["a"])["a"].text == text


def test_only_points_are_stored(collection: Collection) -> None:
    for wrong in ("text", None, Chunk("a", "a", "t", 0, 1), {"id": 1}):
        with pytest.raises(TypeError, match="Point"):
            collection.upsert([wrong])  # type: ignore[list-item]


@pytest.mark.parametrize("bad", [0, -1, 1.5, "3", None, True])
def test_invalid_numbers_are_refused(collection: Collection, bad: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="limit"):
        collection.search(vector(1), limit=bad)
    with pytest.raises((ValueError, TypeError), match="batch"):
        collection.scroll(batch=bad)
    if bad != 0:
        with pytest.raises((ValueError, TypeError), match="offset"):
            collection.search(vector(1), offset=bad)
    assert collection.search(vector(1), limit=np.int64(3)) == []  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "arguments", [{}, {"filter": {}}, {"filter": {"a": {"not_in": []}}}, {"ids": ["a"], "filter": {"a": 1}}]
)
def test_delete_refuses_to_delete_everything(collection: Collection, arguments: dict[str, Any]) -> None:
    from qdrant_client import models

    collection.upsert(points(3))
    with pytest.raises(ValueError, match="delete"):
        collection.delete(**arguments)
    for empty in (models.Filter(), models.Filter(must=[]), models.Filter(must=[], should=[], must_not=[])):
        with pytest.raises(ValueError, match="delete every point"):
            collection.delete(filter=empty)
    assert collection.count() == 3


def test_a_lost_write_is_detected(collection: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = collection._engine
    write = engine.write

    def forgetful(rows: Any) -> None:
        if kept := [row for row in rows if row.payload["t1"]["id"] != "doc 5"]:
            write(kept)

    monkeypatch.setattr(engine, "write", forgetful)
    with pytest.raises(WriteNotVerified, match="'doc 5'") as caught:
        collection.upsert(points(10))
    assert caught.value.ids == ["doc 5"]
    assert caught.value.stored == 0  # type: ignore[attr-defined]


def test_a_lost_replacement_is_detected(collection: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    collection.upsert([point("a", "old"), point("b", "same")])
    monkeypatch.setattr(collection._engine, "write", lambda rows: None)
    assert collection.upsert([point("b", "same")]) == 1  # it is stored already
    with pytest.raises(WriteNotVerified) as caught:
        collection.upsert([point("a", "new"), point("b", "same")])
    assert caught.value.ids == ["a"]


def test_a_write_that_is_lost_once_is_repeated(collection: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = collection._engine
    write, calls = engine.write, []

    def forgetful(rows: Any) -> None:
        calls.append(len(rows))
        write(rows if len(calls) > 1 else rows[1:])

    monkeypatch.setattr(engine, "write", forgetful)
    assert collection.upsert(points(10)) == 10
    assert calls == [10, 1]
    assert collection.count() == 10


def test_a_lost_deletion_is_detected(collection: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    collection.upsert(points(3))
    monkeypatch.setattr(collection._engine, "erase", lambda ids: None)
    with pytest.raises(WriteNotVerified, match="still in"):
        collection.delete(["doc 1"])
    with pytest.raises(WriteNotVerified, match="still in"):
        collection.delete(filter={"number": {"gte": 0}})
