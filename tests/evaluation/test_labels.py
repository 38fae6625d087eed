"""Relevance judgements of users: their meaning, and the errors that are found before an evaluation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from t1_vectorstore.collection import Collection
from t1_vectorstore.errors import CorpusError
from t1_vectorstore.evaluation.benchmark import Benchmark
from t1_vectorstore.evaluation.labels import read_labels
from t1_vectorstore.types import Chunk, ModelIdentity, Point


@pytest.fixture(scope="module")
def collection() -> Iterator[Collection]:
    """Four documents; the last two are stored under other ids, as a chunk, and as LlamaIndex stores a node."""
    identity = ModelIdentity("made up", "none", 4)
    with Collection.open(":memory:", identity=identity) as made:
        names = [("a", "a"), ("b", "b"), ("c#chunk-0", "c"), ("node", "d")]
        made.upsert(Point(Chunk(name, document, "text", 0, 4), (1.0, 0.0, 0.0, 0.0)) for name, document in names)
        yield made


@pytest.fixture
def read(collection: Collection, tmp_path: Path) -> Any:
    def read(*lines: dict[str, Any]) -> Benchmark:
        path = tmp_path / "labels.jsonl"
        path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
        return read_labels(path, collection)

    return read


def test_lines_with_the_same_query_are_merged(read: Any) -> None:
    found = read(
        {"query": "goats", "positives": ["a"]},
        {"query": "trains", "positives": {"b": 2}, "excluded": ["a"]},
        {"query": "goats", "positives": ["c"], "id": 7, "excluded": ["b"]},
    )
    assert found.queries == {"7": "goats", "q2": "trains"}
    assert found.relevant == {"7": {"a": 1, "c": 1}, "q2": {"b": 2}}
    assert found.excluded == {"7": {"b"}, "q2": {"a"}}


def test_documents_are_judged_and_not_the_points_of_which_they_consist(read: Any) -> None:
    assert read({"query": "goats", "positives": ["c", "d"]}).relevant == {"q1": {"c": 1, "d": 1}}
    for point in ("c#chunk-0", "node"):
        with pytest.raises(CorpusError, match=f"'{point}'"):
            read({"query": "goats", "positives": [point]})


def test_query_without_an_id_gets_an_unused_one(read: Any) -> None:
    found = read(
        {"query": "goats cheese", "positives": ["a"], "id": "q2"},
        {"query": "Monday trains", "positives": ["b"]},
        {"query": "tariffs", "positives": ["c"], "id": None},
        {"query": "tides", "positives": ["c"], "id": None},
    )
    assert found.queries == {"q2": "goats cheese", "qq2": "Monday trains", "q3": "tariffs", "q4": "tides"}
    assert found.relevant == {"q2": {"a": 1}, "qq2": {"b": 1}, "q3": {"c": 1}, "q4": {"c": 1}}


def test_two_queries_with_the_same_id_are_refused(read: Any) -> None:
    with pytest.raises(CorpusError, match=r"labels\.jsonl:2: another query, on line 1, has the id '5'"):
        read({"query": "goats", "positives": ["a"], "id": 5}, {"query": "trains", "positives": ["b"], "id": "5"})


def test_query_may_contain_unicode_line_separators(read: Any) -> None:
    text = "one line\u2028in JSON\u0085and here"
    assert list(read({"query": text, "positives": ["a"]}).queries.values()) == [text]


@pytest.mark.parametrize("excluded", [5, "b", ["b", 1], {"b": 1}])
def test_excluded_must_be_a_list_of_ids(read: Any, excluded: object) -> None:
    with pytest.raises(CorpusError, match=r"labels\.jsonl:1: 'excluded' must be a list of document ids, got"):
        read({"query": "goats", "positives": ["a"], "excluded": excluded})
