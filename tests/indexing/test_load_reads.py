"""A load reads few ids back, and still finds lost chunks, clashing ids and outdated chunks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from t1_vectorstore.collection import Collection
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.engines.ids import PointId, point_id
from t1_vectorstore.types import Document
from tests.indexing.loads import LONG, both_engines, content, run


@pytest.fixture
def reads(collection: Collection, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the ids read from the engine, and the rows that its filters found."""
    counted: Counter[str] = Counter()
    read, page = collection._engine.read, collection._engine.page

    def counting_read(ids: Sequence[PointId], **options: Any) -> Any:
        counted["ids"] += len(ids)
        return read(ids, **options)

    def counting_page(*args: Any, **options: Any) -> Any:
        rows, after = page(*args, **options)
        counted["rows"] += len(rows)
        return rows, after

    monkeypatch.setattr(collection._engine, "read", counting_read)
    monkeypatch.setattr(collection._engine, "page", counting_page)
    return counted


# One read looks a new chunk up, and one verifies it. The engine in memory has no index on document ids, so two more
# reads look for outdated chunks of each document.
@pytest.mark.parametrize(
    ("collection", "new", "again"), [("embedded", 2, 1), ("memory", 4, 3)], indirect=["collection"]
)
def test_number_of_ids_read_for_each_document(
    embedder: T1Embedder, collection: Collection, reads: Counter[str], new: int, again: int
) -> None:
    documents = [Document(f"text {n}", f"d{n}") for n in range(1000)]
    report = run(documents, embedder, collection)
    assert (report.stored, report.verified) == (1000, 1000)
    assert (reads["ids"], reads["rows"]) == (new * 1000, 0)
    reads.clear()
    assert run(documents, embedder, collection).unchanged == 1000
    assert (reads["ids"], reads["rows"]) == (again * 1000, 0)


def test_a_chunk_that_was_not_kept_is_not_verified(
    embedder: T1Embedder, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = collection._engine.write

    def lossy_write(rows: Any) -> None:
        write([row for row in rows if row.payload["t1"]["id"] != "7"])

    monkeypatch.setattr(collection._engine, "write", lossy_write)
    report = run([Document(f"text {n}", str(n)) for n in range(20)], embedder, collection)
    assert (report.verified, report.complete) == (19, False)
    assert [failure.id for failure in report.failures] == ["7"]


@both_engines
@pytest.mark.parametrize("between", [0, 1, 3, 40])
def test_the_first_of_two_ids_with_the_same_point_is_stored(
    embedder: T1Embedder, collection: Collection, between: int
) -> None:
    """The ids may be in one batch, in two batches in progress, or far apart."""
    others = [Document(f"other {n}", f"other {n}") for n in range(between)]
    documents = [Document("first", "a"), *others, Document("second", str(point_id("a")))]
    report = run(documents, embedder, collection, batch_chunks=1 if between else 2)
    assert [failure.id for failure in report.failures] == [str(point_id("a"))]
    assert "'a' fall on the same point" in report.failures[0].reason
    assert content(collection) == {"a": "first"} | {other.text: other.text for other in others}
    assert (report.stored, report.encoded) == (1 + between, 1 + between)


@both_engines
def test_an_id_with_the_point_of_a_stored_one_is_refused_before_encoding(
    embedder: T1Embedder, collection: Collection
) -> None:
    run([Document("first", "a")], embedder, collection)
    report = run([Document("second", str(point_id("a"))), Document("third", "b")], embedder, collection)
    assert [failure.id for failure in report.failures] == [str(point_id("a"))]
    assert content(collection) == {"a": "first", "b": "third"}
    assert report.encoded == 1


@pytest.mark.parametrize("collection", ["embedded"], indirect=True)
@pytest.mark.parametrize("indexed", [True, False])
def test_outdated_chunks_are_found_with_and_without_an_index_on_document_ids(
    embedder: T1Embedder, collection: Collection, reads: Counter[str], indexed: bool
) -> None:
    collection._engine.schema = replace(collection.schema, by_document=indexed)
    run([Document(LONG, "a"), Document("x", "b"), Document("y", "a#chunk-none")], embedder, collection)
    report = run([Document(LONG[:150], "a"), Document(LONG, "b")], embedder, collection, batch_chunks=3)
    assert report.removed == 10 + 1
    assert (reads["rows"] > 0) == indexed
    assert content(collection).keys() == {
        "a#chunk-0",
        "a#chunk-1",
        "a#chunk-none",
        *(f"b#chunk-{n}" for n in range(12)),
    }
    assert run([Document(LONG[:150], "a"), Document(LONG, "b")], embedder, collection).removed == 0
