"""LangChain's indexing API: clean-up modes, key encoders and the namespace of the record manager."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from langchain_core.documents import Document
from langchain_core.indexing import InMemoryRecordManager, aindex, index

from t1_vectorstore import T1Embedder
from t1_vectorstore.langchain import T1Embeddings, T1QdrantVectorStore

Cleanup = Literal["incremental", "full", "scoped_full"]


def document(text: str, source: str) -> Document:
    return Document(text, metadata={"source": source})


OLD = [document("one", "a"), document("two", "a"), document("three", "b")]
NEW = [document("one", "a"), document("two, changed", "a")]


@pytest.fixture
def records(empty: T1QdrantVectorStore) -> InMemoryRecordManager:
    manager = InMemoryRecordManager(empty.namespace)
    manager.create_schema()
    return manager


def texts(store: T1QdrantVectorStore) -> list[str]:
    return sorted(found.page_content for found in store.similarity_search("anything", k=10))


@pytest.mark.parametrize(
    ("cleanup", "deleted", "left"),
    [
        (None, 0, ["one", "three", "two", "two, changed"]),
        ("incremental", 1, ["one", "three", "two, changed"]),
        ("scoped_full", 1, ["one", "three", "two, changed"]),
        ("full", 2, ["one", "two, changed"]),
    ],
)
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_clean_up_modes(
    empty: T1QdrantVectorStore,
    records: InMemoryRecordManager,
    cleanup: Cleanup | None,
    deleted: int,
    left: list[str],
    asynchronous: bool,
) -> None:
    async def run(documents: list[Document]) -> Any:
        options: Any = {"cleanup": cleanup, "source_id_key": "source", "key_encoder": "sha256"}
        if asynchronous:
            return await aindex(documents, records, empty, **options)
        return index(documents, records, empty, **options)

    assert await run(OLD) == {"num_added": 3, "num_updated": 0, "num_skipped": 0, "num_deleted": 0}
    assert await run(NEW) == {"num_added": 1, "num_updated": 0, "num_skipped": 1, "num_deleted": deleted}
    assert texts(empty) == left
    assert await run(NEW) == {"num_added": 0, "num_updated": 0, "num_skipped": 2, "num_deleted": 0}


@pytest.mark.parametrize("encoder", ["sha1", "sha256", "sha512", "blake2b", lambda document: document.page_content])
@pytest.mark.filterwarnings("ignore:Using SHA-1")
def test_key_encoders(
    empty: T1QdrantVectorStore, records: InMemoryRecordManager, encoder: str | Callable[[Document], str]
) -> None:
    for _ in range(2):
        result = index(OLD, records, empty, cleanup="full", key_encoder=encoder)  # type: ignore[arg-type]
    assert result["num_skipped"] == 3
    assert len(texts(empty)) == 3
    forced = index(OLD, records, empty, cleanup="full", key_encoder=encoder, force_update=True)  # type: ignore[arg-type]
    assert forced["num_updated"] == 3
    assert index([], records, empty, cleanup="full", key_encoder=encoder)["num_deleted"] == 3  # type: ignore[arg-type]
    assert texts(empty) == []


def test_indexing_an_iterator_in_small_batches(empty: T1QdrantVectorStore, records: InMemoryRecordManager) -> None:
    def source() -> Iterator[Document]:
        yield from (document(f"text {n}", "a") for n in range(25))

    assert index(source(), records, empty, batch_size=10, key_encoder="blake2b")["num_added"] == 25
    assert empty.t1.count() == 25


def test_the_namespace_identifies_collection_and_model(tmp_path: Path) -> None:
    def namespace(place: str, name: str, dimension: int) -> str:
        embeddings = T1Embeddings.from_embedder(T1Embedder.fake(dimension))
        with T1QdrantVectorStore.open(embeddings, path=tmp_path / place, collection_name=name) as store:
            return store.namespace

    cases = [("a", "x", 64), ("b", "x", 64), ("c", "y", 64), ("d", "x", 32)]
    assert len({namespace(*case) for case in cases}) == len(cases)
    assert namespace("a", "x", 64) == namespace("a", "x", 64)


def test_a_recreated_collection_has_another_namespace(tmp_path: Path) -> None:
    embeddings = T1Embeddings.from_embedder(T1Embedder.fake())
    namespaces = set()
    for _ in range(2):
        with T1QdrantVectorStore.open(embeddings, path=tmp_path / "index") as store:
            namespaces.add(store.namespace)
        shutil.rmtree(tmp_path / "index")
        with T1QdrantVectorStore.open(embeddings, location=":memory:") as store:
            namespaces.add(store.namespace)
    assert len(namespaces) == 4


@pytest.mark.parametrize("cleanup", ["incremental", "full"])
def test_a_refused_document_leaves_no_orphans(
    empty: T1QdrantVectorStore, records: InMemoryRecordManager, cleanup: Cleanup
) -> None:
    options: Any = {"cleanup": cleanup, "source_id_key": "source", "key_encoder": lambda each: each.page_content}
    refused = Document("refused", metadata={"source": "a", "lone": "\ud800"})
    with pytest.raises(ValueError, match="nothing was stored"):
        index([*OLD, refused], records, empty, **options)
    assert texts(empty) == []
    index(NEW, records, empty, **options)
    assert texts(empty) == ["one", "two, changed"]
