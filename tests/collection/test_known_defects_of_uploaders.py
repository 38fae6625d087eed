"""The defects of qdrant-client's uploader, by name, and what this package does instead."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from t1_vectorstore import Document, T1Embedder, T1VectorStore
from t1_vectorstore.collection import Collection
from t1_vectorstore.errors import StoreError, StoreUnavailable
from t1_vectorstore.indexing import LoadProgress
from t1_vectorstore.options import Retry
from tests.collection.points import MODEL, points
from tests.collection.stub_server import Stub, opened

DOCUMENTS = [Document(f"Document number {number}.", id=f"d{number}") for number in range(700)]


def test_defect_it_does_not_wait_by_default(tmp_path: Path) -> None:
    """With one invalid vector among 256, the uploader raises no error and stores a part of the batch."""
    batch = list(points(256))
    batch[255] = replace(batch[255], vector=np.ones(3, np.float32))
    with Collection.open(tmp_path / "index", identity=MODEL) as collection:
        with pytest.raises(ValueError, match="3"):
            collection.upsert(batch)
        assert collection.count() == 0


def test_defect_it_retries_refused_writes(stub: Stub, retry: Retry, waits: list[float]) -> None:
    with opened(stub, retry) as collection:
        stub.error(400, "wrong")
        with pytest.raises(StoreError, match="wrong"):
            collection.upsert(points(1))
        assert (len(stub.asked), waits) == (1, [])


def test_defect_it_retries_forever_when_rate_limited(stub: Stub, retry: Retry, waits: list[float]) -> None:
    with opened(stub, retry) as collection:
        stub.error(429, "slow down")
        with pytest.raises(StoreUnavailable, match="slow down"):
            collection.count()
        assert len(stub.asked) == retry.attempts


def test_defect_it_reports_no_progress() -> None:
    seen: list[LoadProgress] = []
    with T1VectorStore.open(":memory:", T1Embedder.fake()) as store:
        store.add(DOCUMENTS, on_progress=seen.append)
    stored = [progress.stored for progress in seen]
    assert stored == sorted(stored)
    assert len(set(stored)) > 2
    assert stored[-1] == len(DOCUMENTS)


def test_defect_it_does_not_resume(tmp_path: Path) -> None:
    embedder = T1Embedder.fake()
    documents = [
        Document(f"Document number {i}.", f"d{i}") for i in range(3000)
    ]  # more than can be in progress at once

    def stop_after_300(progress: LoadProgress) -> None:
        if progress.stored >= 300:
            raise KeyboardInterrupt

    with T1VectorStore.open(tmp_path / "index", embedder) as store:
        with pytest.raises(KeyboardInterrupt):
            store.add(documents, on_progress=stop_after_300)
        there = store.count()
        assert 300 <= there < len(documents)
        report = store.add(documents)
        assert (report.unchanged, report.stored) == (there, len(documents) - there)
        assert store.count() == len(documents)
