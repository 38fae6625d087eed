"""Metadata of Python's and NumPy's types is stored as JSON, and found by filters with the same values."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import deque
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
import pytest

from t1_vectorstore.collection import Collection
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.indexing import load
from t1_vectorstore.indexing.chunking import Chunker
from t1_vectorstore.maintenance.verify import verify
from t1_vectorstore.types import Chunk, Document
from tests.collection.points import MODEL, point


class Colour(Enum):
    RED = "red"


class Word(str, Enum):
    ONE = "one"


class Level(IntEnum):
    HIGH = 3


class Pair(NamedTuple):
    left: int
    right: str


CONVERTED: list[tuple[Any, Any]] = [
    (datetime(2024, 5, 1, 12, tzinfo=timezone.utc), "2024-05-01T12:00:00+00:00"),
    (datetime(2024, 5, 1, 12, 0, 0, 5), "2024-05-01T12:00:00.000005"),
    (datetime(2024, 5, 1, 12, tzinfo=timezone(timedelta(hours=-3, minutes=-30))), "2024-05-01T12:00:00-03:30"),
    (date(2024, 5, 2), "2024-05-02"),
    (time(7, 30), "07:30:00"),
    (UUID("0b5ee3a4-7f0e-4a52-9f6e-3f3f6f1c2d11"), "0b5ee3a4-7f0e-4a52-9f6e-3f3f6f1c2d11"),
    (PurePosixPath("a/b.txt"), "a/b.txt"),
    (Colour.RED, "red"),
    (Word.ONE, "one"),
    (Level.HIGH, 3),
    (Decimal("0.1"), 0.1),
    (Decimal(2**53 + 1), 2**53 + 1),
    (np.int64(-7), -7),
    (np.uint8(200), 200),
    (np.float32(0.5), 0.5),
    (np.float64(0.25), 0.25),
    (np.bool_(True), True),
    (np.str_("word"), "word"),
    (np.datetime64("2024-05-03"), "2024-05-03"),
    (np.datetime64("2024-05-03T01:02:03.000000004"), "2024-05-03T01:02:03"),
    (np.datetime64("NaT"), None),
]
CONTAINERS: list[tuple[Any, Any]] = [
    ({3, 1, 10}, [1, 3, 10]),
    (frozenset({"b", "a"}), ["a", "b"]),
    ({1, "a", None}, ["a", 1, None]),
    ({date(2024, 5, 2), date(2024, 5, 1)}, ["2024-05-01", "2024-05-02"]),
    ((1, "a"), [1, "a"]),
    (Pair(1, "a"), [1, "a"]),
    (deque([1, 2]), [1, 2]),
    (range(3), [0, 1, 2]),
    ({"b": 1, "a": 2}.keys(), ["a", "b"]),
    (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
    (np.array(["x", "y"]), ["x", "y"]),
    (np.array(["2024-05-03T01:02:03.000000004"], dtype="datetime64[ns]"), ["2024-05-03T01:02:03"]),
    (np.array([date(2024, 5, 1), None], dtype=object), ["2024-05-01", None]),
    ({"deep": [{"when": date(2024, 5, 1)}]}, {"deep": [{"when": "2024-05-01"}]}),
]


@pytest.mark.parametrize(("given", "stored"), CONVERTED + CONTAINERS, ids=lambda value: type(value).__name__)
def test_metadata_is_stored_and_hashed_as_json(given: Any, stored: Any) -> None:
    with Collection.open(":memory:", identity=MODEL) as collection:
        collection.upsert([point("a", metadata={"x": given})])
        read = collection.get(["a"])["a"]
        assert read.metadata == {"x": stored}
        assert json.dumps(read.metadata) == json.dumps({"x": stored})
        assert read.content_hash == point("a", metadata={"x": given}).chunk.content_hash
        assert collection.upsert([point("a", metadata={"x": given})]) == 1


def test_a_filter_with_the_given_value_finds_what_was_stored(collection: Collection) -> None:
    scalars = [(given, stored) for given, stored in CONVERTED if stored is not None]
    collection.upsert(point(str(n), metadata={"x": given}) for n, (given, _) in enumerate(scalars))
    for given, stored in scalars:
        expected = {str(n) for n, (_, other) in enumerate(scalars) if other == stored and type(other) is type(stored)}
        for filter in ({"x": given}, {"x": {"eq": stored}}, {"x": [given]}, {"x": {"in": {given}}}):
            assert {chunk.id for chunk in collection.scroll(filter)} == expected, filter
        assert collection.count({"x": {"ne": given}}) == len(scalars) - len(expected)
    several = collection.scroll({"x": {"in": np.array([200, -7])}})
    assert {scalars[int(chunk.id)][1] for chunk in several} == {200, -7}
    since = collection.scroll({"x": {"gte": np.datetime64("2024-05-02"), "lt": date(2024, 5, 3)}})
    assert [scalars[int(chunk.id)][1] for chunk in since] == ["2024-05-02"]
    assert collection.delete(filter={"x": Colour.RED}) == 1


def test_the_hash_of_a_set_is_the_same_in_every_process() -> None:
    code = (
        "from t1_vectorstore.types import Chunk; print(Chunk('', '', '', 0, 0, 0, {'x': set('abcdefgh')}).content_hash)"
    )
    ours = Chunk("", "", "", 0, 0, 0, {"x": set("abcdefgh")}).content_hash
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ours


def test_the_hash_of_json_is_that_of_earlier_versions() -> None:
    metadata = {"b": [1, 2.5, None, True], "a": {"é": "x"}, "t": (1, "2")}
    hashed = "1287875fed35a9908a0691a19af92d221d14db252aa44bdce5a67000c2204096"
    assert Chunk("id", "id", "text", 3, 7, 0, metadata).content_hash == hashed


def test_a_load_of_converted_metadata_is_verified_and_its_rerun_changes_nothing(tmp_path: Path) -> None:
    embedder = T1Embedder.fake(8)
    source = [
        Document(f"text {n}", str(n), {"x": given, "n": 2.0}) for n, (given, _) in enumerate(CONVERTED + CONTAINERS)
    ]
    with Collection.open(tmp_path / "index", identity=embedder.identity) as collection:
        assert load(source, embedder, collection).stored == len(source)
        assert load(source, embedder, collection).unchanged == len(source)
        assert verify(iter(source), collection, Chunker()).equal


def test_a_dead_letter_has_the_converted_metadata(tmp_path: Path) -> None:
    embedder, letters = T1Embedder.fake(8), tmp_path / "dead.jsonl"
    bad = Document("", "bad", {"when": date(2024, 5, 1), "tags": {"b", "a"}})
    with Collection.open(":memory:", identity=embedder.identity) as collection:
        assert load([bad], embedder, collection, dead_letters=letters).failed == 1
    assert json.loads(letters.read_text())["metadata"] == {"when": "2024-05-01", "tags": ["a", "b"]}
