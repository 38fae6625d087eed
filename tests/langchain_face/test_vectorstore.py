"""``T1QdrantVectorStore`` on every engine: what goes in, what is found, what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from qdrant_client import models

from t1_vectorstore import Document as T1Document
from t1_vectorstore import T1Embedder, T1VectorStore
from t1_vectorstore.errors import CollectionLocked, CollectionMismatch, CollectionNotFound
from t1_vectorstore.langchain import T1Embeddings, T1QdrantVectorStore
from t1_vectorstore.langchain.options import Place
from t1_vectorstore.truncation import TruncationWarning
from tests.langchain_face.conftest import DOCUMENTS


def ids(documents: list[Document]) -> list[str | None]:
    return [document.id for document in documents]


def count(store: T1QdrantVectorStore) -> int:
    return store.t1.count()


def test_documents_come_back_as_they_went_in(store: T1QdrantVectorStore) -> None:
    assert store.similarity_search("Paris is the capital of France.", k=1) == [DOCUMENTS[1]]
    assert store.get_by_ids(["wheat", "nobody", "norway"]) == [DOCUMENTS[2], DOCUMENTS[0]]


def test_generators_ids_and_metadata_of_texts(empty: T1QdrantVectorStore) -> None:
    named = empty.add_texts(
        (text for text in ("a", "b", "c")), [{"n": 1}, None, {"n": 3}], ids=["first", None, "third"]
    )
    assert (named[0], named[2]) == ("first", "third")
    assert [each.metadata for each in empty.get_by_ids(named)] == [{"n": 1}, {}, {"n": 3}]
    assert empty.add_documents(document for document in DOCUMENTS) == ["norway", "france", "wheat"]
    assert empty.add_documents(DOCUMENTS[:2], ids=["other", None]) == ["other", "france"]
    assert empty.add_texts([]) == empty.add_documents([]) == []
    assert count(empty) == 7


def test_an_id_is_made_of_text_and_metadata(empty: T1QdrantVectorStore) -> None:
    page = [Document("the same footer", metadata={"page": page}) for page in (1, 2, 2)]
    first, second, third = empty.add_documents(page)
    assert first != second == third
    assert empty.add_documents(page) == [first, second, third]
    assert count(empty) == 2


@pytest.mark.parametrize("method", ["from_texts", "from_documents", "afrom_texts", "afrom_documents"])
async def test_made_from_what_it_holds(method: str, place: Place, embeddings: T1Embeddings) -> None:
    given: Any = DOCUMENTS if "documents" in method else [document.page_content for document in DOCUMENTS]
    options: Any = {"ids": ["x", "y", "z"], **place}
    made = getattr(T1QdrantVectorStore, method)(iter(given), embeddings, **options)
    with await made if method.startswith("a") else made as store:
        assert ids(store.similarity_search("Oslo is the capital of Norway.", k=1)) == ["x"]
        assert count(store) == 3


def test_an_existing_collection_is_opened_and_never_made(tmp_path: Path, embeddings: T1Embeddings) -> None:
    with pytest.raises(CollectionNotFound):
        T1QdrantVectorStore.from_existing_collection(embeddings, path=tmp_path / "index")
    T1QdrantVectorStore.from_documents(DOCUMENTS, embeddings, path=tmp_path / "index").close()
    with T1QdrantVectorStore.from_existing_collection(embeddings, path=tmp_path / "index") as store:
        assert count(store) == 3
        with pytest.raises(CollectionLocked):
            T1QdrantVectorStore.open(embeddings, path=tmp_path / "index")


def test_another_model_s_collection_is_refused(tmp_path: Path, embeddings: T1Embeddings) -> None:
    T1QdrantVectorStore.from_documents(DOCUMENTS, embeddings, path=tmp_path / "index").close()
    other = T1Embeddings.from_embedder(T1Embedder.fake(32))
    with pytest.raises(CollectionMismatch, match="64 dimensions"):
        T1QdrantVectorStore.open(other, path=tmp_path / "index")


@pytest.fixture
def hybrid(place: Place, embeddings: T1Embeddings) -> Iterator[T1QdrantVectorStore]:
    """A store of words and vectors, with an index on the year."""
    options: Place = {**place, "hybrid": True, "indexes": {"year": "integer"}, "tenant": "country"}
    with T1QdrantVectorStore.from_documents(DOCUMENTS, embeddings, **options) as store:
        yield store


def test_words_count_in_a_hybrid_store(hybrid: T1QdrantVectorStore) -> None:
    far = [-value for value in hybrid.embeddings.embed_query("Oslo is the capital of Norway.")]
    assert ids(hybrid.similarity_search_by_vector(far, k=3))[-1] == "norway"
    assert ids(hybrid.similarity_search_by_vector(far, k=3, text="Oslo Norway"))[0] == "norway"
    query = "Norway"
    by_vector = hybrid.similarity_search_with_score(query, k=3, hybrid=False)
    by_both = hybrid.similarity_search_with_score(query, k=3, fusion="dbsf")
    assert by_both[0][0].id == "norway"
    assert {(each.id, score) for each, score in by_both} == {(each.id, score) for each, score in by_vector}
    assert ids(hybrid.as_retriever(k=1).invoke(query)) == ["norway"]
    assert ids(hybrid.as_retriever(k=3, vector_weight=0, think=False).invoke(query)) == ["norway"]  # no other has it
    by_weight = hybrid.similarity_search_with_score(query, k=3, vector_weight=1)
    assert by_weight == by_vector
    assert ids(hybrid.similarity_search(query, filter={"country": "France", "year": {"gte": 2000}})) == ["wheat"]


def test_words_need_a_hybrid_store(store: T1QdrantVectorStore) -> None:
    with pytest.raises(ValueError, match="hybrid=True"):
        store.similarity_search("Norway", hybrid=True)


def test_one_chunk_of_each_document(store: T1QdrantVectorStore) -> None:
    text = "Fjords and mountains of the north. "
    store.t1.add([T1Document(text * 100, id="long"), T1Document(text, id="short")])
    assert len({str(each).partition("#")[0] for each in ids(store.similarity_search(text, k=3))}) < 3
    grouped = ids(store.as_retriever(k=3, group=True).invoke(text))
    assert {str(each).partition("#")[0] for each in grouped} >= {"long", "short"}
    assert len({str(each).partition("#")[0] for each in grouped}) == 3


def test_one_store_for_both_faces(store: T1QdrantVectorStore) -> None:
    """What the package's own store has cut into chunks is found chunk by chunk."""
    own = T1VectorStore(store.t1.embedder, store.t1.collection)
    own.add([T1Document("Fjords and mountains of the north. " * 100, id="long")])
    [found] = store.similarity_search("Fjords and mountains of the north.", k=1)
    assert found.id is not None
    assert found.id.startswith("long#chunk-")
    assert store.get_by_ids([found.id]) == [found]
    assert store.delete([found.id])
    assert store.get_by_ids([found.id]) == []


def test_scores_and_thresholds_mean_one_thing(store: T1QdrantVectorStore) -> None:
    query = "capital of France"
    scored = store.similarity_search_with_score(query, k=3)
    scores = [score for _, score in scored]
    assert scores == sorted(scores, reverse=True)
    [vector] = [store.embeddings.embed_query(query)]
    assert store.similarity_search_with_score_by_vector(vector, k=3) == scored
    assert store.similarity_search_by_vector(vector, k=3) == [document for document, _ in scored]
    relevant = store.similarity_search_with_relevance_scores(query, k=3)
    assert relevant == [(document, max(0.0, score)) for document, score in scored]
    threshold = scores[1]
    passed = [document for document, _ in scored[:2]]
    options: Any = {"k": 3, "score_threshold": threshold}
    assert store.similarity_search(query, **options) == passed
    assert [document for document, _ in store.similarity_search_with_relevance_scores(query, **options)] == passed
    assert store.as_retriever(search_type="similarity_score_threshold", search_kwargs=options).invoke(query) == passed
    assert store.search(query, "similarity_score_threshold", **options) == passed


def test_the_thought_is_returned(store: T1QdrantVectorStore) -> None:
    found, thoughts = store.similarity_search_with_thought("capital", k=2, think=True, budget=3)
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
    assert [(thought.text, thought.stop) for thought in thoughts] == [("lat", "budget")]
    assert store.similarity_search_with_thought("capital") == (store.similarity_search_with_score("capital"), ())


async def test_the_asynchronous_twins(store: T1QdrantVectorStore) -> None:
    query = "capital of France"
    vector = await store.embeddings.aembed_query(query)
    assert await store.asimilarity_search(query) == store.similarity_search(query)
    assert await store.asimilarity_search_with_score(query) == store.similarity_search_with_score(query)
    assert await store.asimilarity_search_with_thought(query) == store.similarity_search_with_thought(query)
    assert await store.asimilarity_search_with_relevance_scores(query) == store.similarity_search_with_relevance_scores(
        query
    )
    assert await store.asimilarity_search_by_vector(vector) == store.similarity_search_by_vector(vector)
    assert await store.amax_marginal_relevance_search(query) == store.max_marginal_relevance_search(query)
    assert await store.aget_by_ids(["wheat"]) == [DOCUMENTS[2]]
    assert await store.adelete(["wheat"])
    assert count(store) == 2


@pytest.fixture
def crowded(empty: T1QdrantVectorStore) -> T1QdrantVectorStore:
    """Three documents that say nearly the same, and one that does not."""
    texts = ["wheat and barley of the north", "wheat and barley of the nort", "wheat and barley of the nor", "wheat"]
    empty.add_texts(texts, ids=["a", "b", "c", "other"])
    return empty


def test_marginal_relevance(crowded: T1QdrantVectorStore) -> None:
    query = "wheat and barley of the north"
    plain = ids(crowded.similarity_search(query, k=2))
    assert plain == ["a", "b"]
    assert ids(crowded.similarity_search(query, k=2, diversity=1.0)) == ["a", "other"]
    assert ids(crowded.max_marginal_relevance_search(query, k=2, lambda_mult=1.0)) == plain
    assert ids(crowded.max_marginal_relevance_search(query, k=2, lambda_mult=0.0)) == ["a", "other"]
    assert ids(crowded.max_marginal_relevance_search(query, k=2, lambda_mult=0.0, fetch_k=3)) == ["a", "c"]
    vector = crowded.embeddings.embed_query(query)
    assert ids(crowded.max_marginal_relevance_search_by_vector(vector, k=2, lambda_mult=0.0)) == ["a", "other"]
    retriever = crowded.as_retriever(search_type="mmr", search_kwargs={"k": 2, "lambda_mult": 0.0})
    assert ids(retriever.invoke(query)) == ["a", "other"]
    with pytest.raises(ValueError, match="lambda_mult"):
        crowded.max_marginal_relevance_search(query, lambda_mult=1.5)


def test_marginal_relevance_of_nothing(empty: T1QdrantVectorStore) -> None:
    assert empty.max_marginal_relevance_search("anything") == []


@pytest.mark.parametrize(
    "filter",
    [
        {"country": "France", "year": {"gte": 2000}},
        models.Filter(
            must=[
                models.FieldCondition(key="metadata.country", match=models.MatchValue(value="France")),
                models.FieldCondition(key="metadata.year", range=models.Range(gte=2000)),
            ]
        ),
    ],
    ids=["dict", "Filter"],
)
def test_filters(store: T1QdrantVectorStore, filter: Any) -> None:
    assert ids(store.similarity_search("capital", filter=filter)) == ["wheat"]
    assert ids(store.max_marginal_relevance_search("capital", filter=filter)) == ["wheat"]
    assert ids(store.as_retriever(search_kwargs={"filter": filter}).invoke("capital")) == ["wheat"]
    assert store.delete(filter=filter)
    assert count(store) == 2


def test_never_deletes_everything_by_accident(store: T1QdrantVectorStore) -> None:
    for arguments in [{}, {"filter": {}}, {"ids": None}, {"ids": ["norway"], "filter": {"year": 1}}]:
        with pytest.raises(ValueError, match="filter"):
            store.delete(**arguments)  # type: ignore[arg-type]
    assert store.delete([])
    assert count(store) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "at least 1, got 0"),
        ({"k": -1}, "at least 1, got -1"),
        ({"offset": -1}, "offset must be at least 0"),
        ({"score_threshold": 2.0}, "score_threshold is a cosine"),
        ({"filter": {"year": {"about": 2000}}}, "known operators are"),
    ],
)
@pytest.mark.parametrize("search", ["similarity_search", "max_marginal_relevance_search"])
def test_a_search_that_cannot_be_is_refused_before_thinking(
    store: T1QdrantVectorStore, options: dict[str, Any], message: str, search: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.t1.embedder, "embed_query", lambda *_, **__: pytest.fail("thought for nothing"))
    with pytest.raises(ValueError, match=message):
        getattr(store, search)("capital", **options)


async def test_a_misspelt_option_is_not_ignored(store: T1QdrantVectorStore) -> None:
    with pytest.raises(TypeError, match="treshold"):
        store.similarity_search("capital", score_treshold=0.5)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="treshold"):
        await store.asimilarity_search("capital", score_treshold=0.5)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"'limit'; it takes k, candidates"):
        store.similarity_search_by_vector([1.0] * 64, limit=3)
    with pytest.raises(TypeError, match="bach_size"):
        store.add_texts(["a"], bach_size=3)  # type: ignore[call-arg]


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
    [({"when": {1, 2}}, "set"), ({"x": float("nan")}, "JSON"), ({"x": object()}, "object")],
    ids=["set", "nan", "object"],
)
@pytest.mark.parametrize("named", [True, False])
def test_metadata_that_is_not_json(
    empty: T1QdrantVectorStore, metadata: dict[str, Any], message: str, named: bool
) -> None:
    with pytest.raises(ValueError, match=f"1 of 2 documents.*{message}"):
        empty.add_texts(["good", "bad"], [{}, metadata], ids=["good", "bad"] if named else None)


def test_what_can_be_stored_is_and_the_error_says_what(empty: T1QdrantVectorStore) -> None:
    with pytest.raises(ValueError, match=r"1 of 3 documents were not stored.*'empty'.*empty") as raised:
        empty.add_texts(["a", "", "c"], ids=["a", "empty", "c"])
    assert raised.value.ids == ["a", "c"]  # type: ignore[attr-defined]
    assert raised.value.report.stored == 2  # type: ignore[attr-defined]
    assert ids(empty.get_by_ids(["a", "empty", "c"])) == ["a", "c"]
    with pytest.raises(ValueError, match="has this id"):
        empty.add_texts(["x", "y"], ids=["twice", "twice"])


def test_a_document_is_one_point_and_truncation_is_told(tiny: Path) -> None:
    long = Document("far more than eight tokens", id="long")
    options: Any = {"model": tiny, "overrides": {"max_document_tokens": 8}, "dtype": "float32"}
    with pytest.warns(TruncationWarning, match="1 of 1 documents"):
        store = T1QdrantVectorStore.from_documents([long], T1Embeddings(**options), location=":memory:")
    assert store.get_by_ids(["long"]) == [long]
    strict = T1Embeddings(**options, truncation="raise")
    with pytest.raises(ValueError, match=r"'long'.*over the model's limit"):
        T1QdrantVectorStore.from_documents([long], strict, location=":memory:")
    T1QdrantVectorStore.from_documents([long], T1Embeddings(**options, truncation="allow"), location=":memory:")


@pytest.mark.parametrize("place", [{}, {"location": ":memory:", "url": "http://localhost"}])
def test_a_place_is_said_in_one_way(place: Any, embeddings: T1Embeddings) -> None:
    with pytest.raises(ValueError, match="in one way"):
        T1QdrantVectorStore.open(embeddings, **place)


def test_only_t1_has_a_fingerprint(store: T1QdrantVectorStore) -> None:
    with pytest.raises(TypeError, match="needs T1Embeddings, got DeterministicFakeEmbedding"):
        T1QdrantVectorStore(store.t1.collection, DeterministicFakeEmbedding(size=64))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="needs T1Embeddings"):
        T1QdrantVectorStore.from_texts(["a"], DeterministicFakeEmbedding(size=64), location=":memory:")  # type: ignore[arg-type]


def test_a_failed_beginning_leaves_nothing_open(tmp_path: Path, embeddings: T1Embeddings) -> None:
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
def test_one_where_several_are_expected(call: Any, empty: T1QdrantVectorStore) -> None:
    with pytest.raises(TypeError, match="wrap it in a list"):
        call(empty)
    assert empty.t1.count() == 0
