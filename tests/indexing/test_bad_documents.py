"""More than fifty kinds of bad documents among ten thousand: each is reported, and every good one is stored."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from t1_vectorstore.collection import Collection
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.indexing import load
from t1_vectorstore.indexing.chunking import Chunker
from t1_vectorstore.readers import read_jsonl
from t1_vectorstore.types import Document
from tests.indexing.bad_documents import bad_documents, with_taken_ids

LONG = Document("\n\n".join(f"Paragraph {n}, with a few words in it." for n in range(12)), "long")


def mixed(good: list[Document], bad: list[Document]) -> list[Document]:
    """Shuffle the documents, but put those whose ids are taken last."""
    documents = [*good, LONG, *bad]
    random.Random(0).shuffle(documents)
    return [*documents, *with_taken_ids(good[0], LONG)]


@pytest.mark.parametrize(("model", "count"), [("fake", 1_000), ("t1-mini", 150)])
def test_each_bad_document_is_reported_and_every_good_one_is_stored(tmp_path: Path, model: str, count: int) -> None:
    embedder = T1Embedder.fake(8) if model == "fake" else T1Embedder.load(model, truncation="allow")
    bad = list(bad_documents())
    taken = list(with_taken_ids(Document("d0", "d0"), LONG))
    good = [Document(f"good {n}", f"d{n}", {"n": n}) for n in range(count - len(bad) - len(taken) - 1)]
    dead = tmp_path / "dead.jsonl"
    with Collection.open(tmp_path / "index", identity=embedder.identity) as collection:
        report = load(mixed(good, bad), embedder, collection, chunker=Chunker(100), dead_letters=dead)
        held = {chunk.document_id: chunk.metadata for chunk in collection.scroll()}
    kinds = {str(document.id) for document in bad}
    assert len(kinds) == len(bad) >= 50
    assert sorted(failure.id or "" for failure in report.failures) == sorted(str(d.id) for d in [*bad, *taken])
    assert all(failure.reason for failure in report.failures)
    assert (report.documents, report.failed) == (count, len(bad) + len(taken))
    assert held == {document.id: document.metadata for document in [*good, LONG]}
    assert report.verified == report.stored == len(good) + 6  # LONG is six chunks
    assert len(dead.read_text().splitlines()) == report.failed


def test_no_dead_letter_is_read_back_as_another_document(tmp_path: Path) -> None:
    """Each dead letter is unreadable, is the document that failed, or fails again."""
    embedder, dead = T1Embedder.fake(8), tmp_path / "dead.jsonl"
    bad = {str(document.id): document for document in bad_documents()}
    with Collection.open(":memory:", identity=embedder.identity) as collection:
        load(bad.values(), embedder, collection, dead_letters=dead)
        assert {json.loads(line).get("id", "?") for line in dead.read_text().splitlines()} <= {*bad, "?", 7}
        for document in read_jsonl(dead, on_error=lambda error: None):
            given = bad[str(document.id)]
            assert (document.text, dict(document.metadata)) == (given.text, dict(given.metadata))
        again = load(read_jsonl(dead, on_error=lambda error: None), embedder, collection)
        assert again.stored <= 1  # the id 7 has become the string "7"


def test_a_document_without_an_id_is_reported_by_the_hash_of_its_text(tmp_path: Path) -> None:
    embedder = T1Embedder.fake(8)
    with Collection.open(tmp_path / "index", identity=embedder.identity) as collection:
        report = load([Document(" ")], embedder, collection)
    [failure] = report.failures
    assert failure.id == "36a9e7f1c95b82ffb99743e0c5c4ce95d83c9a430aac59f84ef3cbfab6145068"
