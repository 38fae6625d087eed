"""What a search can do beside finding the nearest: words, diversity, one hit for each document. On every engine."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from qdrant_client import QdrantClient, models

from t1_vectorstore.collection import Collection
from t1_vectorstore.errors import InvalidText
from t1_vectorstore.types import Hit
from tests.collection.conftest import Place
from tests.collection.points import DIMENSION, point, vector
from tests.collection.stories import NUMBER, QUERY, bm25, cosine, fused, ids, nearest, stories


@pytest.fixture
def hybrid(place: Place) -> Collection:
    collection = place.open(hybrid=True)
    collection.upsert(stories())
    return collection


@pytest.fixture
def filled(collection: Collection) -> Collection:
    collection.upsert(stories())
    return collection


@pytest.mark.parametrize("limit", [1, 3, 10])
def test_a_fusion_looks_deeper_than_the_limit(hybrid: Collection, limit: int) -> None:
    found = ids(hybrid.search(QUERY, text="river export", limit=limit))
    assert found == fused("river export", 50)[:limit]
    assert (found == fused("river export", limit)[:limit]) == (limit < 10)  # a shallow one is wrong further down
    assert (
        ids(hybrid.search(QUERY, text="river export", limit=limit, candidates=NUMBER))
        == (fused("river export", NUMBER)[:limit])
    )


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.8])
def test_the_vector_may_count_for_more_or_less_than_the_words(hybrid: Collection, share: float) -> None:
    found = ids(hybrid.search(QUERY, text="river export", limit=20, vector_weight=share))
    assert found == fused("river export", 80, share)[:20]
    assert (found == ids(hybrid.search(QUERY, text="river export", limit=20))) == (share == 0.5)


def test_one_side_may_count_for_everything(hybrid: Collection) -> None:
    def search(share: float, **options: Any) -> list[str]:
        return ids(hybrid.search(QUERY, text="river export", limit=NUMBER, vector_weight=share, **options))

    assert search(1) == nearest()
    assert search(0) == bm25("river export")
    assert len(search(0)) < NUMBER  # the others match no word
    assert set(search(0, filter={"even": True})) == {chunk for chunk in search(0) if int(chunk.split()[1]) % 2 == 0}
    assert len(search(0, group=True)) == len({int(chunk.split()[1]) % 24 for chunk in bm25("river export")})
    assert len(search(0.9, group=True)) == 24


def test_scores_are_cosines_and_thresholds_are_about_them_on_every_path(hybrid: Collection) -> None:
    paths: list[dict[str, Any]] = [
        {},
        {"text": "river"},
        {"text": "river", "fusion": "dbsf"},
        {"text": "river", "vector_weight": 0.2},
        {"text": "river", "vector_weight": 0, "group": True},
        {"group": True},
        {"diversity": 0.6},
        {"text": "river", "group": True, "diversity": 0.3},
    ]
    for options in paths:
        everything = hybrid.search(QUERY, limit=NUMBER, candidates=NUMBER, **options)
        assert [hit.score for hit in everything] == pytest.approx([cosine(hit.id) for hit in everything], abs=2e-6)
        threshold = sorted(hit.score for hit in everything)[len(everything) // 2]
        above = hybrid.search(QUERY, limit=NUMBER, candidates=NUMBER, score_threshold=threshold, **options)
        assert above
        if options.get("group"):  # of a document whose best is too far, another chunk may do
            assert {hit.document_id for hit in above} >= {
                hit.document_id for hit in everything if hit.score >= threshold
            }
        else:
            assert {hit.id for hit in above} == {hit.id for hit in everything if hit.score >= threshold}, options
        assert all(hit.score >= threshold for hit in above)


def test_a_threshold_does_not_cost_hits_that_reach_it(hybrid: Collection) -> None:
    good = [chunk for chunk in fused("river", 50) if cosine(chunk) >= 0.2]
    assert ids(hybrid.search(QUERY, text="river", limit=10, score_threshold=0.2)) == good[:10]


@pytest.mark.parametrize("how", [{"fusion": "rrf"}, {"fusion": "dbsf"}, {"vector_weight": 0.7}], ids=str)
def test_pages_of_a_fusion_are_one_list(hybrid: Collection, how: Any) -> None:
    whole = hybrid.search(QUERY, text="climate", limit=30, candidates=NUMBER, **how)
    for offset in (0, 7, 25):
        page = hybrid.search(QUERY, text="climate", limit=5, offset=offset, candidates=NUMBER, **how)
        assert page == whole[offset : offset + 5]


def test_a_filter_holds_for_words_and_vectors(hybrid: Collection) -> None:
    found = hybrid.search(QUERY, text="river", limit=NUMBER, filter={"even": True})
    assert len(found) == NUMBER // 2
    assert all(hit.metadata["even"] for hit in found)


def test_a_text_without_words_changes_nothing(hybrid: Collection) -> None:
    hybrid.upsert([point("wordless", "of the", at=vector(9_001)), point("empty", "", at=vector(9_002))])
    for text in ("", "the of", "?!"):
        assert hybrid.search(QUERY, text=text, limit=20) == hybrid.search(QUERY, limit=20)
    assert hybrid.search(vector(9_002), text="river", limit=1, candidates=200)[0].document_id
    assert hybrid.get(["wordless", "empty"])["wordless"].text == "of the"


def test_words_follow_their_text(hybrid: Collection) -> None:
    hybrid.upsert([point("chunk 3", "zebra", at=vector(3))])
    assert "chunk 3" in ids(hybrid.search(-vector(3), text="Zebras!", limit=2))
    hybrid.upsert([point("chunk 3", "lion", at=vector(3))])
    assert "chunk 3" not in ids(hybrid.search(-vector(3), text="zebra", limit=10))
    hybrid.upsert([point("chunk 3", "the", at=vector(3))])
    assert "chunk 3" not in ids(hybrid.search(-vector(3), text="lion", limit=10))


def test_without_diversity_it_is_relevance_and_with_all_of_it_difference(filled: Collection) -> None:
    plain = filled.search(QUERY, limit=10)
    assert filled.search(QUERY, limit=10, diversity=0) == plain
    for diversity in (0.3, 0.7, 1.0):
        chosen = ids(filled.search(QUERY, limit=10, diversity=diversity, candidates=30))
        assert chosen == marginal(nearest()[:30], diversity, 10)
    assert likeness(ids(filled.search(QUERY, limit=10, diversity=1.0))) < likeness(ids(plain))


def marginal(candidates: list[str], diversity: float, limit: int) -> list[str]:
    """Maximal marginal relevance, by its formula."""
    chosen = [max(candidates, key=cosine)]
    while len(chosen) < limit:
        left = [chunk for chunk in candidates if chunk not in chosen]
        nearest_chosen = {chunk: max(cosine(chunk, vector(int(c.split()[1]))) for c in chosen) for chunk in left}
        chosen.append(max(left, key=lambda c: (1 - diversity) * cosine(c) - diversity * nearest_chosen[c]))
    return chosen


def likeness(chunks: list[str]) -> float:
    """The highest cosine between two of them."""
    return max(cosine(a, vector(int(b.split()[1]))) for a in chunks for b in chunks if a != b)


def test_pages_of_a_choice_are_one_list(filled: Collection) -> None:
    whole = filled.search(QUERY, limit=20, diversity=0.5, candidates=50)
    assert filled.search(QUERY, limit=5, offset=5, diversity=0.5, candidates=50) == whole[5:10]
    assert filled.search(QUERY, limit=5, offset=18, diversity=0.5, candidates=50) == whole[18:] + filled.search(
        QUERY, limit=3, offset=20, diversity=0.5, candidates=50
    )


def test_of_each_document_only_its_best_chunk(filled: Collection) -> None:
    best: dict[int, str] = {}
    for chunk in nearest():
        best.setdefault(int(chunk.split()[1]) % 24, chunk)
    everyone = list(best.values())
    assert ids(filled.search(QUERY, group=True, limit=100)) == everyone
    assert ids(filled.search(QUERY, group=True, limit=5, offset=3)) == everyone[3:8]
    assert ids(filled.search(QUERY, group=True, limit=100, candidates=1)) == everyone


def test_a_document_of_many_chunks_hides_no_other(collection: Collection) -> None:
    near = vector(1)
    collection.upsert(
        point(f"book#{n}", at=near + vector(n) * 0.001, document_id="book", metadata={"long": True}) for n in range(300)
    )
    collection.upsert(point(f"leaf {n}", at=vector(n), metadata={"long": n < 2}) for n in range(2, 8))
    found = collection.search(near, group=True, limit=4, candidates=10)
    assert len({hit.document_id for hit in found}) == 4
    assert found[0].document_id == "book"
    assert found[1:] == [hit for hit in collection.search(near, limit=400) if hit.document_id != "book"][:3]
    assert [hit.document_id for hit in collection.search(near, group=True, limit=4, filter={"long": True})] == ["book"]


def test_a_document_may_have_the_name_of_anothers_chunk(collection: Collection) -> None:
    collection.upsert([point("a", at=vector(1), document_id="b"), point("b", at=vector(1), document_id="c")])
    collection.upsert([point("c", at=vector(1), document_id="a"), point("d", at=vector(1), document_id="a")])
    found = collection.search(vector(1), group=True, limit=10, candidates=1)
    assert sorted(hit.document_id for hit in found) == ["a", "b", "c"]


@pytest.mark.server
def test_points_of_other_packages_are_documents_of_their_own(
    server_url: str, admin: QdrantClient, fresh_name: str
) -> None:
    params = models.VectorParams(size=DIMENSION, distance=models.Distance.COSINE)
    admin.create_collection(fresh_name, vectors_config=params)
    batch = models.Batch(ids=list(range(5)), vectors=[vector(n).tolist() for n in range(5)], payloads=[{}] * 5)
    admin.upsert(fresh_name, batch, wait=True)
    with Collection.open(server_url, name=fresh_name) as collection:
        found = collection.search(vector(2), group=True, limit=10, candidates=1)
        assert sorted(ids(found)) == ["0", "1", "2", "3", "4"]
        assert not collection.hybrid


def test_as_many_as_there_are(hybrid: Collection) -> None:
    for options in ({}, {"text": "river"}, {"group": True}, {"diversity": 0.5}):
        expected = 24 if "group" in options else NUMBER
        assert len(hybrid.search(QUERY, limit=16_384, **options)) == expected  # type: ignore[arg-type]


def test_everything_at_once(hybrid: Collection) -> None:
    found = hybrid.search(
        QUERY, text="river", group=True, diversity=0.5, score_threshold=-0.5, filter={"even": True}, limit=6, offset=1
    )
    assert len({hit.document_id for hit in found}) == 6
    assert all(hit.metadata["even"] for hit in found)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"text": "river"},
        {"text": "river", "vector_weight": 0.7},
        {"diversity": 0.4},
        {"group": True, "limit": 20, "candidates": 3},
    ],
    ids=["plain", "words", "weighed", "diverse", "grouped"],
)
def test_the_awaited_search_is_the_same(hybrid: Collection, options: dict[str, Any]) -> None:
    async def many() -> list[list[Hit]]:
        return await asyncio.gather(*(hybrid.asearch(QUERY, **options) for _ in range(3)))

    for _ in range(2):  # loops come and go
        assert asyncio.run(many()) == [hybrid.search(QUERY, **options)] * 3
    with pytest.raises(ValueError, match="limit"):
        asyncio.run(hybrid.asearch(QUERY, **{**options, "limit": 0}))


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"text": "river"}, ValueError, "hybrid=True"),
        ({"text": 5}, TypeError, "text must be a valid string, got 5"),
        ({"fusion": "sum"}, ValueError, "'rrf' or 'dbsf', got 'sum'"),
        ({"text": "river", "vector_weight": 1.1}, ValueError, "vector_weight must be less than .* 1, got 1.1"),
        ({"text": "river", "vector_weight": math.nan}, ValueError, "vector_weight must be greater than .* 0, got nan"),
        ({"text": "river", "vector_weight": True}, TypeError, "vector_weight must be a valid number, got True"),
        ({"text": "river", "vector_weight": 0.7, "fusion": "dbsf"}, ValueError, "0.7 weights ranks, and fusion='dbsf'"),
        ({"vector_weight": 0.7}, ValueError, "this search has no words; search by words"),
        ({"diversity": 1.1}, ValueError, "got 1.1"),
        ({"diversity": -0.1}, ValueError, "got -0.1"),
        ({"diversity": math.nan}, ValueError, "got nan"),
        ({"candidates": 0}, ValueError, "candidates must be greater than or equal to 1, got 0"),
        ({"candidates": 2.5}, TypeError, "candidates must be a valid integer, got 2.5"),
        ({"diversity": 0.5, "candidates": 16_385}, ValueError, "at most 16384 candidates, got 16385"),
        ({"diversity": 0.5, "limit": 16_000, "offset": 385}, ValueError, "at most 16384 candidates, got 16385"),
        ({"text": "a\ud800"}, InvalidText, "lone surrogate"),
        ({"limit": 0, "group": True}, ValueError, "limit must be greater than or equal to 1, got 0"),
    ],
)
def test_a_search_that_cannot_be_is_refused(
    collection: Collection, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        collection.search(QUERY, **options)
    with pytest.raises(error, match=words):
        collection.check_search(**options)
