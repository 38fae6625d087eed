"""A load reports every document that it could not store, and its progress."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from t1_vectorstore.collection import Collection
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.indexing import LoadProgress, load
from t1_vectorstore.indexing.chunking import Chunker
from t1_vectorstore.readers import read
from t1_vectorstore.types import Chunk, Document, DocumentEmbeddings, Point
from tests.indexing.loads import LONG, both_engines, content, counts, run

BAD = [
    Document("", "empty"),
    Document(" \n", "space"),
    Document("\ud800", "surrogate"),
    Document("t", ""),
    Document("t", "nan", {"x": float("nan")}),
    Document("t", "object", {"x": object()}),
    Document("t", "big", {"x": 2**70}),
    Document("t", "deep", {"x": [[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]}),
    Document("t", "bad metadata text", {"x": "\ud800"}),
    Document("t", "key", {1: "x"}),  # type: ignore[dict-item]
    Document("t", "\ud800"),
    Document(7, "number"),  # type: ignore[arg-type]
    Document("t", 7),  # type: ignore[arg-type]
]


@both_engines
def test_a_bad_document_is_reported_and_the_others_are_stored(embedder: T1Embedder, collection: Collection) -> None:
    good = [Document(f"good {n}", f"g{n}") for n in range(len(BAD))]
    mixed = [document for pair in zip(good, BAD, strict=True) for document in pair]
    report = run(mixed, embedder, collection)
    assert set(content(collection)) == {document.id for document in good}
    assert sorted(failure.id for failure in report.failures) == sorted(str(document.id) for document in BAD)
    assert all(failure.reason for failure in report.failures)
    assert report.failed == len(BAD)


def test_a_text_that_the_model_refuses_is_reported_alone(
    collection: Collection, embedder: T1Embedder, monkeypatch: Any
) -> None:
    def picky(texts: list[str], **settings: Any) -> DocumentEmbeddings:
        if any("poison" in text for text in texts):
            raise ValueError("refused")
        return T1Embedder.embed_documents(embedder, texts, **settings)

    monkeypatch.setattr(embedder, "embed_documents", picky)
    documents = [Document("poison" if n == 70 else f"text {n}", str(n)) for n in range(100)]
    documents.append(Document(LONG + "\n\npoison", "long"))
    report = run(documents, embedder, collection)
    assert [failure.id for failure in report.failures] == ["70", "long"]
    assert collection.count() == 99


def test_the_first_document_with_an_id_is_stored(embedder: T1Embedder, collection: Collection) -> None:
    documents = [Document(text, "a") for text in ("one", "one", "two", "three", LONG)]
    report = run(documents, embedder, collection)
    assert content(collection) == {"a": "one"}
    assert (*counts(report), report.repeated) == (5, 1, 0, 1, 0, 3, 1)
    assert {failure.id for failure in report.failures} == {"a"}


def test_a_document_named_like_a_chunk_of_another_is_reported(embedder: T1Embedder, collection: Collection) -> None:
    report = run([Document(LONG, "a"), Document("thief", "a#chunk-1")], embedder, collection)
    assert [failure.id for failure in report.failures] == ["a#chunk-1"]
    assert collection.count() == 12


def test_chunks_that_the_model_truncates_are_reported(embedder: T1Embedder, collection: Collection) -> None:
    report = load([Document("x " * 400, "a")], embedder, collection, chunker=Chunker(10_000))
    (truncated,) = report.truncations
    assert (truncated.id, report.truncated) == ("a", 1)
    assert 0 < truncated.dropped_tokens < truncated.total_tokens == 800


def test_progress_only_grows(embedder: T1Embedder, collection: Collection) -> None:
    seen: list[LoadProgress] = []
    report = run(
        (Document(f"{n}", str(n)) for n in range(50)), embedder, collection, batch_chunks=7, on_progress=seen.append
    )
    for before, after in pairwise(seen):
        assert np.all(np.array(counts_of(after)) >= np.array(counts_of(before)))
    assert counts_of(seen[-1]) == counts_of(report)


def counts_of(progress: LoadProgress) -> tuple[int, ...]:
    return progress.documents, progress.chunks, progress.unchanged, progress.encoded, progress.stored, progress.tokens


def test_items_that_a_reader_cannot_read_are_reported(
    embedder: T1Embedder, collection: Collection, tmp_path: Path
) -> None:
    file, dead = tmp_path / "c.jsonl", tmp_path / "dead.jsonl"
    file.write_text('{"id": "a", "text": "a"}\nnot json\n{"id": "b", "text": ""}\n')
    report = run(partial(read, file), embedder, collection, dead_letters=dead)  # type: ignore[arg-type]
    assert (report.documents, report.unread, report.failed, report.complete) == (2, 1, 1, False)
    assert [failure.id for failure in report.failures] == [None, "b"]
    assert [json.loads(line).get("id") for line in dead.read_text().splitlines()] == [None, "b"]


def test_the_report_lists_at_most_max_reported_failures(
    embedder: T1Embedder, collection: Collection, tmp_path: Path
) -> None:
    bad = [Document("", str(n)) for n in range(30)]
    long = [Document("x " * 400, f"l{n}") for n in range(30)]
    settings: Any = {"chunker": Chunker(10_000), "dead_letters": tmp_path / "dead.jsonl"}
    report = load([*bad, *long], embedder, collection, max_reported=7, **settings)
    assert (report.failed, len(report.failures)) == (30, 7)
    assert (report.truncated, len(report.truncations)) == (30, 7)
    assert len((tmp_path / "dead.jsonl").read_text().splitlines()) == 30
    assert len(load(bad, embedder, collection, max_reported=None, **settings).failures) == 30


def test_chunks_lost_before_the_end_are_reported_as_failures(embedder: T1Embedder, collection: Collection) -> None:
    def source() -> Iterator[Document]:
        for n in range(3000):  # the first batches are stored before the last is read
            yield Document(str(n), str(n))
        collection.delete(["7"])
        collection.upsert([Point(Chunk("9", "9", "theirs", 0, 6), np.ones(16, np.float32))])

    report = run(source(), embedder, collection)
    assert (report.stored, report.verified, report.complete) == (3000, 2998, False)
    reasons = {failure.id: failure.reason for failure in report.failures}
    assert reasons.keys() == {"7", "9"}
    assert "is missing again" in reasons["7"]
    assert "was overwritten" in reasons["9"]
