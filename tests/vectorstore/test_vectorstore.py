"""``T1VectorStore`` on the embedded and the in-memory engine, with a real model and the fake one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from t1_vectorstore import Document, T1Embedder, T1VectorStore
from t1_vectorstore.errors import CollectionMismatch, InvalidText, TextTooLong, UnknownIdWarning

DOCUMENTS = [
    Document("Oslo is the capital of Norway.", id="norway", metadata={"country": "Norway", "year": 2001}),
    Document("Paris is the capital of France.", id="france", metadata={"country": "France", "year": 1999}),
    Document("Wheat grows in the fields of France.", id="wheat", metadata={"country": "France", "year": 2010}),
]


@pytest.fixture(params=["embedded", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[T1VectorStore]:
    location = tmp_path / "index" if request.param == "embedded" else ":memory:"
    with T1VectorStore.open(location, T1Embedder.fake()) as store:
        store.add(DOCUMENTS)
        yield store


def test_a_result_contains_query_hits_thoughts_and_timings(store: T1VectorStore) -> None:
    result = store.search("capital of France", limit=2)
    assert result.query == "capital of France"
    assert len(result.hits) == 2
    assert result.hits[0].score >= result.hits[1].score
    assert result.thoughts[0].text == "ecnarF fo latipac"
    assert result.thoughts[0].stop == "emb_token"
    assert result.timings.total == result.timings.embed + result.timings.search > 0
    plain = store.search("capital of France", think=False)
    assert plain.thoughts == ()
    assert plain.hits[0].id == "france"


def test_filters_thresholds_and_pages(store: T1VectorStore) -> None:
    french = store.search("capital", filter={"country": "France", "year": {"gte": 2000}})
    assert [hit.id for hit in french.hits] == ["wheat"]
    everything = store.search("capital", think=False).hits
    assert [hit.id for hit in store.search("capital", think=False, offset=1).hits] == [h.id for h in everything[1:]]
    best = everything[0].score
    assert [h.id for h in store.search("capital", think=False, score_threshold=best).hits] == [everything[0].id]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 0}, "limit must be greater than or equal to 1, got 0"),
        ({"offset": -1}, "offset must be greater than or equal to 0, got -1"),
        ({"score_threshold": 2.0}, "score_threshold must be less than or equal to 1, got 2.0"),
        ({"filter": {"year": {"about": 2000}}}, "known operators are"),
    ],
)
def test_invalid_options_are_refused_before_the_model_runs(
    store: T1VectorStore, options: dict[str, object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.embedder, "embed_query", lambda *_, **__: pytest.fail("the model ran"))
    with pytest.raises(ValueError, match=message):
        store.search("capital", **options)  # type: ignore[arg-type]


def test_the_model_does_not_run_for_a_collection_without_words(
    store: T1VectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.embedder, "embed_query", lambda *_, **__: pytest.fail("the model ran"))
    with pytest.raises(ValueError, match="hybrid=True"):
        store.search("capital", hybrid=True)


def test_hybrid_searches_also_find_documents_by_their_words(tmp_path: Path) -> None:
    crowd = [Document(f"{n} is a number among others", id=f"n{n}") for n in range(100)]
    with T1VectorStore.open(tmp_path, T1Embedder.fake(), hybrid=True, indexes={"year": "integer"}) as store:
        store.add([*DOCUMENTS, *crowd, Document("A zebra, seen by ecnarF", id="odd")])
        again = store.add([*DOCUMENTS, *crowd])
        assert (again.unchanged, again.stored) == (103, 0)
        query = "capital zebra"  # the fake thought is the reversed query
        assert "odd" in [hit.id for hit in store.search(query, think=False, limit=3).hits]
        assert store.search(query, think=False, hybrid=False) != store.search(query, think=False)
        thought = [hit.id for hit in store.search("France", limit=2).hits]
        assert "odd" in thought
        assert "odd" not in [hit.id for hit in store.search("France", limit=2, thought_terms=False).hits]
        assert store.search("France", limit=4, diversity=0.5, group=True, candidates=20).hits
    with T1VectorStore.open(tmp_path, T1Embedder.fake()) as store:
        assert store.collection.hybrid
    with pytest.raises(CollectionMismatch, match="hybrid"):
        T1VectorStore.open(tmp_path, T1Embedder.fake(), hybrid=False)


def test_asynchronous_methods_do_the_same(store: T1VectorStore) -> None:
    async def work() -> None:
        report = await store.aadd([Document("Bergen is rainy.", id="bergen")])
        assert report.stored == 1
        found = await store.asearch("capital of France", limit=2, filter={"country": "France"}, diversity=0.2)
        expected = store.search("capital of France", limit=2, filter={"country": "France"}, diversity=0.2)
        assert (found.hits, found.thoughts) == (expected.hits, expected.thoughts)
        assert found.timings.embed > 0 < found.timings.search
        with pytest.raises(ValueError, match="limit must be greater than or equal to 1, got 0"):
            await store.asearch("x", limit=0)
        assert await store.adelete(["bergen"]) == 1
        with pytest.raises(ValueError, match="ids or a filter"):
            await store.adelete()

    asyncio.run(work())


async def test_unknown_options_are_refused(store: T1VectorStore) -> None:
    with pytest.raises(
        TypeError, match=r"unknown option 'limt'; did you mean 'limit'\? The options are .*limit, offset"
    ):
        await store.asearch("capital", limt=5)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unknown option 'limt'"):
        await store.collection.asearch([1.0] * 64, limt=5)  # type: ignore[call-arg]


def test_the_truncation_policy_can_be_set_for_a_query(store: T1VectorStore) -> None:
    with pytest.raises(TextTooLong):
        store.search("long " * 1000, truncation="raise")
    truncated = store.search("long " * 1000, truncation="allow", limit=1).truncated
    assert truncated is not None
    assert truncated.dropped_tokens > 0


def test_an_empty_query_is_refused(store: T1VectorStore) -> None:
    with pytest.raises(InvalidText, match="the query is only white space"):
        store.search("  ")


def test_long_documents_are_found_by_chunk_and_deleted_as_a_whole(store: T1VectorStore) -> None:
    text = "\n\n".join(f"Paragraph {i} about the fjords and the mountains of the north." for i in range(200))
    report = store.add([Document(text, id="long")])
    assert report.stored == report.chunks > 1
    [hit] = store.search("fjords and mountains", limit=1, think=False).hits
    assert hit.document_id == "long"
    assert hit.text == text[hit.start : hit.end]
    assert store.delete(["long"]) == report.chunks
    assert store.count() == len(DOCUMENTS)
    assert store.delete("norway") == 1
    assert store.delete(filter={"country": "France"}) == 2
    assert store.count() == 0


def test_delete_without_a_restriction_is_refused(store: T1VectorStore) -> None:
    for arguments in [{}, {"filter": {}}, {"document_ids": ["norway"], "filter": {"year": 1}}]:
        with pytest.raises(ValueError, match="filter"):
            store.delete(**arguments)  # type: ignore[arg-type]
    assert store.delete([]) == 0
    assert store.count() == len(DOCUMENTS)


def test_unchanged_documents_are_not_encoded_again(store: T1VectorStore) -> None:
    backend = store.embedder._backend
    before = backend.encoded  # type: ignore[attr-defined]
    report = store.add(DOCUMENTS)
    assert (report.unchanged, report.stored) == (3, 0)
    assert backend.encoded == before  # type: ignore[attr-defined]


def test_the_collection_of_another_model_is_refused(tmp_path: Path) -> None:
    T1VectorStore.open(tmp_path / "index", T1Embedder.fake(64)).close()
    with pytest.raises(CollectionMismatch, match="fake"):
        T1VectorStore.open(tmp_path / "index", T1Embedder.fake(32))


def test_search_with_a_real_model(tiny: Path, tmp_path: Path) -> None:
    embedder = T1Embedder.load(tiny, dtype="float32")
    with T1VectorStore.open(tmp_path / "index", embedder) as store:
        store.add(DOCUMENTS)
    with T1VectorStore.open(tmp_path / "index", T1Embedder.load(tiny, dtype="float32")) as store:
        vectors = embedder.embed_documents([document.text for document in DOCUMENTS]).vectors
        for document, vector in zip(DOCUMENTS, vectors, strict=True):
            [hit] = store.collection.search(vector, limit=1)
            assert hit.id == document.id
            assert hit.score == pytest.approx(1, abs=1e-4)
        assert store.search("capital", budget=4).thoughts[0].tokens <= 4


@pytest.mark.parametrize(
    "options",
    [
        {"hybrid": "rrf"},
        {"thought_terms": "no"},
        {"group": "yes"},
        {"score_threshold": "a"},
        {"diversity": True},
        {"vector_weight": "most"},
    ],
)
def test_options_of_another_type_are_refused(store: T1VectorStore, options: dict[str, object]) -> None:
    with pytest.raises(TypeError, match=f"^{next(iter(options))} must be a valid"):
        store.search("capital", **options)  # type: ignore[arg-type]


def test_stored_chunks_are_returned_by_id(store: T1VectorStore) -> None:
    found = store.get(["wheat", "nowhere", "norway"])
    assert list(found) == ["wheat", "norway"]
    assert found["wheat"].text == DOCUMENTS[2].text
    assert found["wheat"].metadata == {"country": "France", "year": 2010}
    assert list(store.get("france")) == ["france"]
    assert store.get([]) == {}


def test_all_chunks_are_listed_in_batches_and_counted(store: T1VectorStore) -> None:
    in_one = [chunk.id for chunk in store.scroll()]
    assert sorted(in_one) == ["france", "norway", "wheat"]
    assert [chunk.id for chunk in store.scroll(batch=1)] == in_one
    assert {chunk.id for chunk in store.scroll({"country": "France"}, batch=2)} == {"france", "wheat"}
    with pytest.raises(ValueError, match="batch must be a whole number"):
        store.scroll(batch=0)
    assert len(store) == 3
    store.delete(filter={"year": {"gte": 0}})
    assert len(store) == 0
    assert store, "an empty store is still true"


def test_deleting_names_the_documents_that_are_not_stored(store: T1VectorStore) -> None:
    store.add([Document("word " * 2000, id="long")])
    with pytest.warns(UnknownIdWarning, match="has no document 'nope', 'gone'; nothing") as warned:
        deleted = store.delete(["norway", "nope", "long", "gone"])
    assert len(warned) == 1
    assert warned[0].filename == __file__
    assert deleted > 2, "what is stored is deleted nevertheless"
    assert {chunk.id for chunk in store.scroll()} == {"france", "wheat"}
    with pytest.warns(UnknownIdWarning, match=r"'0', '1', '2', '3', '4' and 6 more; nothing was deleted"):
        assert store.delete(map(str, range(11))) == 0


def test_the_name_of_a_model_is_no_embedder(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"must be a T1Embedder, got 't1-mini': .*T1Embedder.load\('t1-mini'\)"):
        T1VectorStore.open(tmp_path / "index", "t1-mini")  # type: ignore[arg-type]
    assert not (tmp_path / "index").exists()
