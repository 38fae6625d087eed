"""A load stores every good document once, whatever happened before."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from t1_vectorstore.collection import Collection
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.errors import CollectionMismatch, StoreUnavailable
from t1_vectorstore.indexing import LoadProgress, chunker_for, load, merge_reports
from t1_vectorstore.types import Document, ModelIdentity, Point
from tests.indexing.loads import LONG, both_engines, content, counts, run


@both_engines
def test_documents_are_split_encoded_and_stored(embedder: T1Embedder, collection: Collection) -> None:
    report = run(iter([Document("short", "a", {"k": 1}), Document(LONG, "b"), Document("no id")]), embedder, collection)
    assert counts(report) == (3, 14, 0, 14, 0, 0)
    assert report.encoded == 14
    assert report.tokens > 0
    assert collection.count() == 14
    chunk = collection.get(["b#chunk-3"])["b#chunk-3"]
    assert chunk.text == LONG[chunk.start : chunk.end]
    assert chunk.document_id == "b"


def test_each_chunk_is_stored_with_its_own_vector(embedder: T1Embedder, collection: Collection) -> None:
    run([Document(LONG, "b")], embedder, collection)
    for point in collection.scroll(with_vectors=True):
        assert point.vector @ embedder.embed_documents([point.chunk.text]).vectors[0] == pytest.approx(1)


def test_a_rerun_encodes_nothing(embedder: T1Embedder, collection: Collection) -> None:
    documents = [Document(LONG, "a"), Document("b", "b")]
    run(documents, embedder, collection)
    report = run(documents, embedder, collection)
    assert counts(report) == (2, 13, 13, 0, 0, 0)
    assert report.encoded == report.tokens == 0


def test_only_changed_documents_are_stored_again(embedder: T1Embedder, collection: Collection) -> None:
    run([Document("a", "a", {"v": 1}), Document("b", "b"), Document(LONG, "c")], embedder, collection)
    report = run(
        [Document("a", "a", {"v": 2}), Document("b", "b"), Document(LONG + "\n\nEnd.", "c")], embedder, collection
    )
    assert (report.unchanged, report.stored) == (13 - 1, 2)
    assert collection.get(["a"])["a"].metadata == {"v": 2}


@both_engines
@pytest.mark.parametrize("before", [1, 2, 130])
@pytest.mark.parametrize("after", [1, 2, 3])
def test_all_chunks_of_an_earlier_version_are_deleted(
    embedder: T1Embedder, collection: Collection, before: int, after: int
) -> None:
    def version(paragraphs: int) -> Document:
        return Document("\n\n".join(f"{n} ".ljust(95, "x") for n in range(paragraphs)), "d")

    others = [Document("other", "d#chunk-"), Document("other", "e")]
    run([version(before), *others], embedder, collection)
    report = run([version(after)], embedder, collection)
    assert report.failed == 0
    assert collection.count() == after + len(others)
    assert content(collection).keys() - {"d#chunk-", "e"} == (
        {"d"} if after == 1 else {f"d#chunk-{n}" for n in range(after)}
    )


@both_engines
def test_another_document_that_looks_like_a_chunk_is_not_deleted(embedder: T1Embedder, collection: Collection) -> None:
    run([Document("mine", "d#chunk-0"), Document("single", "d")], embedder, collection)
    run([Document("single, changed", "d")], embedder, collection)
    assert content(collection) == {"d#chunk-0": "mine", "d": "single, changed"}


class Interrupted(BaseException):
    pass


@both_engines
@pytest.mark.parametrize("interrupt_after", range(0, 45, 4))
def test_an_interrupted_load_is_completed_by_a_rerun(
    embedder: T1Embedder, collection: Collection, interrupt_after: int
) -> None:
    run([Document(LONG + LONG, "b"), Document("x", "c")], embedder, collection)
    documents = [Document("a", "a"), Document(LONG, "b"), Document(LONG[::-1], "c"), Document("d", "d")]
    steps = 0

    def interrupt(progress: LoadProgress) -> None:
        nonlocal steps
        steps += 1
        if steps > interrupt_after:
            raise Interrupted

    with contextlib.suppress(Interrupted):
        run(documents, embedder, collection, batch_chunks=5, on_progress=interrupt)
    report = run(documents, embedder, collection, batch_chunks=5)
    assert report.failed == 0
    with Collection.open(":memory:", identity=embedder.identity) as fresh:
        run(documents, embedder, fresh)
        assert content(collection) == content(fresh)


def test_a_failing_store_ends_the_load_and_keeps_the_stored_chunks(
    embedder: T1Embedder, collection: Collection, monkeypatch: Any
) -> None:
    calls = 0

    def full(points: list[Point]) -> int:
        nonlocal calls
        calls += 1
        if calls > 2:
            raise StoreUnavailable("the disk is full")
        return Collection.write(collection, points)

    monkeypatch.setattr(collection, "write", full)
    seen: list[LoadProgress] = []
    with pytest.raises(StoreUnavailable):
        run(
            (Document(str(n), str(n)) for n in range(100)),
            embedder,
            collection,
            batch_chunks=10,
            on_progress=seen.append,
        )
    assert seen[-1].stored == collection.count() == 20


def test_another_models_collection_is_refused_before_anything_is_read(embedder: T1Embedder) -> None:
    def untouchable() -> Iterator[Document]:
        raise AssertionError("read")
        yield

    with Collection.open(":memory:", identity=ModelIdentity("other", "f00", 16)) as other:
        with pytest.raises(CollectionMismatch, match=r"'other'.*'fake'"):
            load(untouchable(), embedder, other)
        with pytest.raises(TypeError, match="takes Documents"):
            load(["text"], T1Embedder.fake(16), Collection.open(":memory:", identity=embedder.identity))  # type: ignore[list-item]
        with pytest.raises(ValueError, match="batch_chunks"):
            load([], T1Embedder.fake(16), Collection.open(":memory:", identity=embedder.identity), batch_chunks=0)


def test_default_chunks_are_not_truncated_by_the_model(embedder: T1Embedder, collection: Collection) -> None:
    text = "é" * 3000  # two byte tokens each, under a limit of 512
    assert embedder.excess_tokens(text) > 0
    report = load([Document(text, "a")], embedder, collection)
    assert report.truncated == 0
    assert report.chunks > 10
    chunks = chunker_for(embedder, size=200, overlap=20).split(Document(LONG, "b"))
    assert max(len(chunk.text) for chunk in chunks) <= 200


def test_source_and_callback_run_in_the_calling_thread(embedder: T1Embedder, collection: Collection) -> None:
    threads = set()

    def source() -> Iterator[Document]:
        for n in range(500):
            threads.add(threading.get_ident())
            yield Document(str(n), str(n))

    run(source(), embedder, collection, on_progress=lambda _: threads.add(threading.get_ident()))
    assert threads == {threading.get_ident()}


def test_an_error_of_the_source_is_raised_unchanged_and_leaves_no_thread(
    embedder: T1Embedder, collection: Collection
) -> None:
    error = OSError("connection lost")

    def source() -> Iterator[Document]:
        for n in range(600):
            yield Document(str(n), str(n))
        raise error

    before = threading.active_count()
    with pytest.raises(OSError, match="connection lost") as caught:
        run(source(), embedder, collection)
    assert caught.value is error
    assert threading.active_count() == before


def test_parts_of_a_source_can_be_loaded_at_the_same_time(embedder: T1Embedder, collection: Collection) -> None:
    parts = [
        [Document(f"text {n}", str(n)) for n in range(part, 1000, 4)] + [Document("", f"e{part}")] for part in range(4)
    ]
    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(lambda part: run(part, embedder, collection), parts))
    report = merge_reports(reports, max_reported=3)
    assert counts(report) == (1004, 1000, 0, 1000, 0, 4)
    assert (report.verified, len(report.failures)) == (1000, 3)
    assert report.seconds == max(part.seconds for part in reports)
    assert collection.count() == 1000


@pytest.mark.parametrize("character", ["a", "é", "e\u0301", "\u0958", "\ufb2c", "\U0001f600", "\ufdfa", "\x00", " "])
def test_a_text_that_surely_fits_is_never_truncated(embedder: T1Embedder, character: str) -> None:
    """Compare the quick check with the tokenizers of the fake and of the bundled model."""
    for prompter in (embedder._prompter, T1Embedder.load("t1-mini")._prompter):
        surely_fits = {number: prompter.surely_fits(character * number) for number in range(1, 700)}
        assert not surely_fits[699]
        assert all(
            prompter.documents([character * number])[0].dropped == 0 for number in surely_fits if surely_fits[number]
        )
    if character == "a":
        assert surely_fits[400]
