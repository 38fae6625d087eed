"""``T1QdrantVectorStore`` on every engine: adding, opening, deleting, and errors."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding

from t1_vectorstore import Document as T1Document
from t1_vectorstore import T1Embedder, T1VectorStore
from t1_vectorstore.errors import BlankDocumentWarning, CollectionMismatch, CollectionNotFound, TruncationWarning
from t1_vectorstore.langchain import T1Embeddings, T1QdrantVectorStore
from t1_vectorstore.types import ModelIdentity
from tests.langchain_adapter.conftest import DOCUMENTS, count, ids


def test_documents_are_returned_as_they_were_added(store: T1QdrantVectorStore) -> None:
    assert store.similarity_search("Paris is the capital of France.", k=1) == [DOCUMENTS[1]]
    assert store.get_by_ids(["wheat", "nobody", "norway"]) == [DOCUMENTS[2], DOCUMENTS[0]]


def test_adding_accepts_generators_ids_and_metadata(empty: T1QdrantVectorStore) -> None:
    named = empty.add_texts(
        (text for text in ("a", "b", "c")), [{"n": 1}, None, {"n": 3}], ids=["first", None, "third"]
    )
    assert (named[0], named[2]) == ("first", "third")
    assert [each.metadata for each in empty.get_by_ids(named)] == [{"n": 1}, {}, {"n": 3}]
    assert empty.add_documents(document for document in DOCUMENTS) == ["norway", "france", "wheat"]
    assert empty.add_documents(DOCUMENTS[:2], ids=["other", None]) == ["other", "france"]
    assert empty.add_texts([]) == empty.add_documents([]) == []
    assert count(empty) == 7


def test_the_default_id_is_a_hash_of_text_and_metadata(empty: T1QdrantVectorStore) -> None:
    page = [Document("the same footer", metadata={"page": page}) for page in (1, 2, 2)]
    first, second, third = empty.add_documents(page)
    assert first != second == third
    assert empty.add_documents(page) == [first, second, third]
    assert count(empty) == 2


@pytest.mark.parametrize("method", ["from_texts", "from_documents", "afrom_texts", "afrom_documents"])
async def test_creating_a_store_from_texts_or_documents(
    method: str, place: dict[str, Any], embeddings: T1Embeddings
) -> None:
    given: Any = DOCUMENTS if "documents" in method else [document.page_content for document in DOCUMENTS]
    options: Any = {"ids": ["x", "y", "z"], **place}
    made = getattr(T1QdrantVectorStore, method)(iter(given), embeddings, **options)
    with await made if method.startswith("a") else made as store:
        assert ids(store.similarity_search("Oslo is the capital of Norway.", k=1)) == ["x"]
        assert count(store) == 3


def test_from_existing_collection_creates_nothing(tmp_path: Path, embeddings: T1Embeddings) -> None:
    with pytest.raises(CollectionNotFound):
        T1QdrantVectorStore.from_existing_collection(embeddings, path=tmp_path / "index")
    T1QdrantVectorStore.from_documents(DOCUMENTS, embeddings, path=tmp_path / "index").close()
    with T1QdrantVectorStore.from_existing_collection(embeddings, path=tmp_path / "index") as store:
        assert count(store) == 3


def test_a_cell_that_makes_a_store_in_a_folder_can_be_run_again(tmp_path: Path, embeddings: T1Embeddings) -> None:
    store = T1QdrantVectorStore.from_documents(DOCUMENTS, embeddings, path=tmp_path / "index")
    first = store
    store = T1QdrantVectorStore.from_documents(DOCUMENTS, embeddings, path=tmp_path / "index")
    assert count(first) == count(store) == 3
    first.close()
    assert store.similarity_search(DOCUMENTS[1].page_content, k=1) == [DOCUMENTS[1]]
    store.close()


def test_the_collection_of_another_model_is_refused(tmp_path: Path, embeddings: T1Embeddings) -> None:
    T1QdrantVectorStore.from_documents(DOCUMENTS, embeddings, path=tmp_path / "index").close()
    other = T1Embeddings.from_embedder(T1Embedder.fake(32))
    with pytest.raises(CollectionMismatch, match="64 dimensions"):
        T1QdrantVectorStore.open(other, path=tmp_path / "index")


def test_chunks_that_the_own_store_added_can_be_searched_and_deleted(store: T1QdrantVectorStore) -> None:
    own = T1VectorStore(store.t1.embedder, store.t1.collection)
    own.add([T1Document("Fjords and mountains of the north. " * 100, id="long")])
    [found] = store.similarity_search("Fjords and mountains of the north.", k=1)
    assert found.id is not None
    assert found.id.startswith("long#chunk-")
    assert store.get_by_ids([found.id]) == [found]
    assert store.delete([found.id])
    assert store.get_by_ids([found.id]) == []


def test_delete_without_a_restriction_is_refused(store: T1QdrantVectorStore) -> None:
    for arguments in [{}, {"filter": {}}, {"ids": None}, {"ids": ["norway"], "filter": {"year": 1}}]:
        with pytest.raises(ValueError, match="filter"):
            store.delete(**arguments)  # type: ignore[arg-type]
    assert store.delete([])
    assert count(store) == 3


@pytest.mark.parametrize(
    "options", [{"ids": ["1"]}, {"ids": ["1", "2", "3"]}, {"metadatas": [{}]}, {"metadatas": []}, {"ids": []}]
)
def test_mismatched_lengths_store_nothing(empty: T1QdrantVectorStore, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="2 texts, but"):
        empty.add_texts(iter(["a", "b"]), **options)
    if "ids" in options:
        with pytest.raises(ValueError, match="3 documents, but") if len(options["ids"]) != 3 else _nothing():
            empty.add_documents(iter(DOCUMENTS), **options)
            empty.delete(options["ids"])
    assert count(empty) == 0


class _nothing:
    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...


@pytest.mark.parametrize(
    ("metadata", "message"),
    [({"when": b"x"}, "bytes"), ({"x": float("nan")}, "JSON"), ({"x": object()}, "object")],
    ids=["bytes", "nan", "object"],
)
@pytest.mark.parametrize("named", [True, False])
def test_metadata_that_is_not_json_is_refused(
    empty: T1QdrantVectorStore, metadata: dict[str, Any], message: str, named: bool
) -> None:
    with pytest.raises(ValueError, match=f"1 of 2 documents.*{message}"):
        empty.add_texts(["good", "bad"], [{}, metadata], ids=["good", "bad"] if named else None)


def test_a_list_with_a_document_that_cannot_be_stored_stores_nothing(empty: T1QdrantVectorStore) -> None:
    with pytest.raises(
        ValueError, match=r"1 of 3 documents cannot be stored; nothing was stored.*'bad'.*bytes"
    ) as raised:
        empty.add_texts(["a", "b", "c"], [{}, {"x": b"x"}, {}], ids=["a", "bad", "c"])
    assert raised.value.ids == []  # type: ignore[attr-defined]
    assert raised.value.report.failures[0].id == "bad"  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"'twice'.* id"):
        empty.add_texts(["x", "y"], ids=["twice", "twice"])
    assert count(empty) == 0


def test_the_other_documents_of_a_generator_are_stored_and_listed(empty: T1QdrantVectorStore) -> None:
    given = [Document("a", id="a"), Document("b", id="bad", metadata={"x": b"x"}), Document("c", id="c")]
    with pytest.raises(ValueError, match="1 of 3 documents cannot be stored; the others were") as raised:
        empty.add_documents(document for document in given)
    assert raised.value.ids == ["a", "c"]  # type: ignore[attr-defined]
    assert ids(empty.get_by_ids(["a", "bad", "c"])) == ["a", "c"]


def test_a_blank_page_is_left_out_with_a_warning(place: dict[str, Any], embeddings: T1Embeddings) -> None:
    pages = [DOCUMENTS[0], Document(" \n", id="blank"), DOCUMENTS[1]]
    with pytest.warns(BlankDocumentWarning, match="1 documents have no text, and were left out, such as 'blank'"):
        store = T1QdrantVectorStore.from_documents(pages, embeddings, **place)
    with store:
        assert count(store) == 2
        with pytest.warns(BlankDocumentWarning):
            store.add_texts(["  "], ids=["france"])
        assert store.get_by_ids(["france"]) == [], "an earlier text of a blank document does not stay"


@pytest.mark.filterwarnings("ignore::t1_vectorstore.errors.BlankDocumentWarning")
def test_every_document_of_a_call_has_its_id_in_the_answer(empty: T1QdrantVectorStore) -> None:
    assert empty.add_texts(["a", "", "c"], ids=["a", "blank", "c"]) == ["a", "blank", "c"]


@pytest.mark.filterwarnings("ignore::t1_vectorstore.errors.BlankDocumentWarning")
def test_a_blank_page_does_not_delete_another_page_with_its_id(empty: T1QdrantVectorStore) -> None:
    empty.add_texts(["page one", " "], ids=["a.pdf", "a.pdf"])
    assert [found.page_content for found in empty.get_by_ids(["a.pdf"])] == ["page one"]


def test_a_document_is_one_point_and_truncation_is_reported(tiny: Path) -> None:
    long = Document("far more than eight tokens", id="long")
    options: Any = {"model": tiny, "overrides": {"max_document_tokens": 8}, "dtype": "float32"}
    with pytest.warns(TruncationWarning, match="1 of 1 documents .* 'long' loses") as caught:
        store = T1QdrantVectorStore.from_documents([long], T1Embeddings(**options), location=":memory:")
    assert caught[-1].filename == __file__
    assert store.get_by_ids(["long"]) == [long]
    strict = T1Embeddings(**options, truncation="raise")
    with pytest.raises(ValueError, match=r"'long'.*over the model's limit"):
        T1QdrantVectorStore.from_documents([long], strict, location=":memory:")
    T1QdrantVectorStore.from_documents([long], T1Embeddings(**options, truncation="allow"), location=":memory:")


@pytest.mark.parametrize("place", [{}, {"location": ":memory:", "url": "http://localhost"}])
def test_exactly_one_location_is_required(place: Any, embeddings: T1Embeddings) -> None:
    with pytest.raises(ValueError, match=r"give exactly one of location=, url= and path=, got (0|2)"):
        T1QdrantVectorStore.open(embeddings, **place)


def test_a_collection_refuses_the_embeddings_of_another_model(store: T1QdrantVectorStore) -> None:
    with pytest.raises(CollectionMismatch, match="DeterministicFakeEmbedding"):
        T1QdrantVectorStore(store.t1.collection, DeterministicFakeEmbedding(size=64))
    with pytest.raises(TypeError, match="must be LangChain's Embeddings, got str"):
        T1QdrantVectorStore.from_texts(["a"], "t1-mini", location=":memory:")  # type: ignore[arg-type]


def test_a_store_that_cannot_be_filled_is_closed(tmp_path: Path, embeddings: T1Embeddings) -> None:
    def broken() -> Iterator[Document]:
        yield DOCUMENTS[0]
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        T1QdrantVectorStore.from_documents(broken(), embeddings, path=tmp_path / "index")
    T1QdrantVectorStore.open(embeddings, path=tmp_path / "index").close()


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.add_texts("hello"),
        lambda store: store.add_texts(["p", "q"], ids="pq"),
        lambda store: store.add_documents(Document("one")),
        lambda store: store.embeddings.embed_documents("abc"),
    ],
)
def test_a_single_text_instead_of_several_is_refused(call: Any, empty: T1QdrantVectorStore) -> None:
    with pytest.raises(TypeError, match="wrap it in a list"):
        call(empty)
    assert empty.t1.count() == 0


def test_metadata_is_converted_as_in_every_other_store(empty: T1QdrantVectorStore) -> None:
    when = datetime(2024, 5, 1, 12, tzinfo=timezone.utc)
    metadata = {"when": when, "path": PurePosixPath("a/b"), "price": Decimal("1.5"), "tags": {"y", "x"}}
    [named] = empty.add_documents([Document("a text", metadata=metadata)])
    assert empty.add_documents([Document("a text", metadata=metadata)]) == [named]
    by_value = {"when": {"eq": when, "gte": when}, "path": PurePosixPath("a/b"), "price": {"lte": Decimal("1.5")}}
    [read] = empty.similarity_search("a text", filter=by_value)
    assert read.metadata == {"when": when.isoformat(), "path": "a/b", "price": 1.5, "tags": ["x", "y"]}


def test_a_compatible_model_searches_but_does_not_write(tmp_path: Path) -> None:
    with T1QdrantVectorStore.open(T1Embeddings.from_embedder(T1Embedder.fake()), location=tmp_path / "index") as own:
        own.add_texts(["llamas live in Peru", "tin melts"])
    embedder = T1Embedder.fake()
    embedder.identity = ModelIdentity("quantised", "0" * 16, embedder.dimension)
    other = T1Embeddings.from_embedder(embedder)
    with pytest.raises(CollectionMismatch):
        T1QdrantVectorStore.open(other, location=tmp_path / "index")
    with pytest.raises(ValueError, match=r"compatible_with='t1-mini', but .* holds vectors of 'fake'"):
        T1QdrantVectorStore.open(other, location=tmp_path / "index", compatible_with="t1-mini")
    with T1QdrantVectorStore.open(other, location=tmp_path / "index", compatible_with="fake") as store:
        assert len(store.similarity_search("llamas")) == 2
        with pytest.raises(CollectionMismatch, match="cannot be mixed"):
            store.add_texts(["another text"])
        assert count(store) == 2


@pytest.mark.parametrize("options", [{"retrieval_mode": "sparse"}, {"force_recreate": True}])
def test_options_that_do_not_fit_a_compatible_model(embeddings: T1Embeddings, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="compatible_with='fake' searches the vectors of an existing"):
        T1QdrantVectorStore.open(embeddings, location=":memory:", compatible_with="fake", **options)
