"""Small loads, and their results."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from t1_vectorstore.collection import Collection
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.indexing import LoadReport, load
from t1_vectorstore.indexing.chunking import Chunker
from t1_vectorstore.types import Document

LONG = "\n\n".join(f"Paragraph {n} of a long text, with a few words in it." for n in range(12))

both_engines = pytest.mark.parametrize("collection", ["embedded", "memory"], indirect=True)


def run(documents: Iterable[Document], embedder: T1Embedder, collection: Collection, **settings: Any) -> LoadReport:
    return load(documents, embedder, collection, chunker=Chunker(100), **settings)


def content(collection: Collection) -> dict[str, str]:
    return {chunk.id: chunk.text for chunk in collection.scroll()}


def counts(report: LoadReport) -> tuple[int, ...]:
    return report.documents, report.chunks, report.unchanged, report.stored, report.removed, report.failed
