"""Pruning deletes what a source no longer has, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import models

from t1_vectorstore.collection import Collection
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.errors import CorpusError
from t1_vectorstore.indexing import LoadReport, load, prune
from t1_vectorstore.indexing.chunking import Chunker
from t1_vectorstore.readers import read
from t1_vectorstore.types import Document

LONG = "\n\n".join(f"Paragraph {n} of a long text, with a few words in it." for n in range(12))
EMBEDDER = T1Embedder.fake(16)


@pytest.fixture
def collection() -> Iterator[Collection]:
    with Collection.open(":memory:", identity=EMBEDDER.identity) as opened:
        yield opened


def run(documents: Any, collection: Collection, **settings: Any) -> LoadReport:
    return load(documents, EMBEDDER, collection, chunker=Chunker(100), **settings)


def stored_documents(collection: Collection) -> set[str]:
    return {chunk.document_id for chunk in collection.scroll()}


def test_removed_documents_are_deleted_with_all_their_chunks(collection: Collection) -> None:
    run([Document("a", "a"), Document(LONG, "long"), Document(LONG, "kept")], collection)
    report = run([Document(LONG, "kept"), Document("b", "b")], collection, prune=True)
    assert stored_documents(collection) == {"kept", "b"}
    assert (report.pruned, report.unchanged, report.stored) == (13, 12, 1)
    assert report.complete


def test_a_collection_of_many_pages_is_pruned(collection: Collection) -> None:
    run((Document(str(n), str(n)) for n in range(1000)), collection)
    report = run((Document(str(n), str(n)) for n in range(0, 1000, 3)), collection, prune=True)
    assert stored_documents(collection) == {str(n) for n in range(0, 1000, 3)}
    assert report.pruned == 1000 - 334


def test_a_filter_limits_pruning(collection: Collection) -> None:
    run([Document("a", "a", {"of": "x"}), Document("b", "b", {"of": "x"}), Document("c", "c", {"of": "y"})], collection)
    run([Document("a", "a", {"of": "x"})], collection, prune={"of": "x"})
    assert stored_documents(collection) == {"a", "c"}


def test_a_document_whose_new_version_fails_keeps_the_old_one(collection: Collection) -> None:
    run([Document("a", "a"), Document("b", "b")], collection)
    report = run([Document(" ", "a")], collection, prune=True)
    assert stored_documents(collection) == {"a"}
    assert (report.pruned, report.failed) == (1, 1)


def test_a_document_without_an_id_that_fails_is_kept(collection: Collection) -> None:
    run([Document("a"), Document("b")], collection)
    report = run([Document("a", metadata={"bad": object()})], collection, prune=True)
    assert [chunk.text for chunk in collection.scroll()] == ["a"]
    assert (report.pruned, report.failed) == (1, 1)


def test_chunks_after_a_gap_are_deleted_with_the_longer_version(collection: Collection) -> None:
    run([Document(LONG, "a")], collection)
    collection.delete(["a#chunk-2", "a#chunk-3"])  # a load leaves no gaps
    run([Document(LONG[:150], "a")], collection, prune=True)
    assert {chunk.id for chunk in collection.scroll()} == {"a#chunk-0", "a#chunk-1"}


def test_a_refused_new_version_keeps_all_chunks_of_the_old_one(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    run([Document(LONG, "a")], collection)
    embed = T1Embedder.embed_documents

    def refuse(self: T1Embedder, texts: Any, **options: Any) -> Any:
        if "refused" in texts:
            raise ValueError("not this one")
        return embed(self, texts, **options)

    monkeypatch.setattr(T1Embedder, "embed_documents", refuse)
    report = run([Document("refused", "a"), Document("b", "b")], collection, prune=True)
    assert (report.failed, report.pruned) == (1, 0)
    assert len(list(collection.scroll())) == 12 + 1


def test_points_of_another_package_are_kept(collection: Collection) -> None:
    run([Document("a", "a")], collection)
    client = collection._engine._client  # type: ignore[attr-defined]
    foreign = models.PointStruct(id=7, vector=[1.0] * 16, payload={"page_content": "theirs"})
    client.upsert(collection.name, [foreign])
    run([Document("b", "b")], collection, prune=True)
    assert stored_documents(collection) == {"b", "7"}


@pytest.mark.parametrize("broken", ["not json\n", '{"id": "a"}\n'])
def test_nothing_is_deleted_if_an_item_cannot_be_read(collection: Collection, tmp_path: Path, broken: str) -> None:
    file = tmp_path / "c.jsonl"
    file.write_text('{"id": "b", "text": "b"}\n' + broken)
    run([Document("a", "a")], collection)
    report = run(partial(read, file), collection, prune=True)
    assert stored_documents(collection) == {"a", "b"}
    assert (report.unread, report.pruned, report.complete) == (1, 0, False)
    assert "could not be read" in report.not_pruned
    assert report.failures[0].id is None
    assert "c.jsonl:2" in report.failures[0].reason


def test_nothing_is_deleted_if_the_source_fails(collection: Collection) -> None:
    def source(on_error: Callable[[CorpusError], None]) -> Iterator[Document]:
        yield Document("b", "b")
        raise OSError("connection lost")

    run([Document("a", "a")], collection)
    with pytest.raises(OSError, match="connection lost"):
        run(source, collection, prune=True)
    assert "a" in stored_documents(collection)


def test_an_empty_source_is_refused(collection: Collection) -> None:
    run([Document("a", "a")], collection)
    with pytest.raises(ValueError, match="no document"):
        run([], collection, prune=True)
    with pytest.raises(ValueError, match="no document"):
        prune([], collection)
    assert stored_documents(collection) == {"a"}


def test_prune_after_a_load_in_parts_takes_the_whole_source(collection: Collection) -> None:
    run([Document("gone", "gone")], collection)
    parts = [[Document("a", "a")], [Document("b", "b"), Document(" ", "c")]]
    for part in parts:
        run(part, collection)
    assert prune([document for part in parts for document in part], collection) == 1
    assert stored_documents(collection) == {"a", "b"}


@pytest.mark.parametrize("wrong", ["x", {"n": {"above": 1}}])
def test_an_invalid_filter_is_refused_before_anything_is_stored(collection: Collection, wrong: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"filter is|'above'"):
        run([Document("a", "a")], collection, prune=wrong)
    assert collection.count() == 0


@pytest.mark.parametrize("nothing", [None, {}, models.Filter()])
def test_a_filter_that_restricts_nothing_is_refused(collection: Collection, nothing: Any) -> None:
    run([Document("a", "a"), Document("b", "b")], collection)
    with pytest.raises(ValueError, match="restricts nothing; for all documents write prune=True"):
        run([Document("a", "a")], collection, prune=nothing)
    assert stored_documents(collection) == {"a", "b"}
