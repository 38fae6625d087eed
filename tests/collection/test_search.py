"""The options of a search, on every engine: words, diversity, and one hit for each document."""

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
from tests.collection.search_corpus import POINTS, QUERY, bm25, corpus, cosine, fused, ids, nearest


@pytest.fixture
def hybrid(place: Place) -> Collection:
    collection = place.open(hybrid=True)
    collection.upsert(corpus())
    return collection


@pytest.fixture
def filled(collection: Collection) -> Collection:
    collection.upsert(corpus())
    return collection


@pytest.mark.parametrize("limit", [1, 3, 10])
def test_a_fusion_uses_more_candidates_than_the_limit(hybrid: Collection, limit: int) -> None:
    found = ids(hybrid.search(QUERY, text="river export", limit=limit))
    assert found == fused("river export", 50)[:limit]
    assert (found == fused("river export", limit)[:limit]) == (
        limit < 10
    )  # with fewer candidates the later hits are wrong
    assert (
        ids(hybrid.search(QUERY, text="river export", limit=limit, candidates=POINTS))
        == (fused("river export", POINTS)[:limit])
    )


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.8])
def test_vector_weight_shifts_a_fusion_towards_vector_or_words(hybrid: Collection, share: float) -> None:
    found = ids(hybrid.search(QUERY, text="river export", limit=20, vector_weight=share))
    assert found == fused("river export", 80, share)[:20]
    assert (found == ids(hybrid.search(QUERY, text="river export", limit=20))) == (share == 0.5)


def test_vector_weights_of_0_and_1_use_one_ranking_only(hybrid: Collection) -> None:
    def search(share: float, **options: Any) -> list[str]:
        return ids(hybrid.search(QUERY, text="river export", limit=POINTS, vector_weight=share, **options))

    assert search(1) == nearest()
    assert search(0) == bm25("river export")
    assert len(search(0)) < POINTS  # the others match no word
    assert set(search(0, filter={"even": True})) == {chunk for chunk in search(0) if int(chunk.split()[1]) % 2 == 0}
    assert len(search(0, group=True)) == len({int(chunk.split()[1]) % 24 for chunk in bm25("river export")})
    assert len(search(0.9, group=True)) == 24


def test_scores_and_thresholds_are_cosines_in_every_kind_of_search(hybrid: Collection) -> None:
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
        everything = hybrid.search(QUERY, limit=POINTS, candidates=POINTS, **options)
        assert [hit.score for hit in everything] == pytest.approx([cosine(hit.id) for hit in everything], abs=2e-6)
        threshold = sorted(hit.score for hit in everything)[len(everything) // 2]
        above = hybrid.search(QUERY, limit=POINTS, candidates=POINTS, score_threshold=threshold, **options)
        assert above
        if options.get("group"):  # another chunk of a document may reach the threshold
            assert {hit.document_id for hit in above} >= {
                hit.document_id for hit in everything if hit.score >= threshold
            }
        else:
            assert {hit.id for hit in above} == {hit.id for hit in everything if hit.score >= threshold}, options
        assert all(hit.score >= threshold for hit in above)


def test_a_threshold_loses_no_hits_that_reach_it(hybrid: Collection) -> None:
    good = [chunk for chunk in fused("river", 50) if cosine(chunk) >= 0.2]
    assert ids(hybrid.search(QUERY, text="river", limit=10, score_threshold=0.2)) == good[:10]


@pytest.mark.parametrize("how", [{"fusion": "rrf"}, {"fusion": "dbsf"}, {"vector_weight": 0.7}], ids=str)
def test_pages_of_a_fusion_are_parts_of_one_list(hybrid: Collection, how: Any) -> None:
    whole = hybrid.search(QUERY, text="climate", limit=30, candidates=POINTS, **how)
    for offset in (0, 7, 25):
        page = hybrid.search(QUERY, text="climate", limit=5, offset=offset, candidates=POINTS, **how)
        assert page == whole[offset : offset + 5]


def test_a_filter_restricts_hits_by_words_and_by_vector(hybrid: Collection) -> None:
    found = hybrid.search(QUERY, text="river", limit=POINTS, filter={"even": True})
    assert len(found) == POINTS // 2
    assert all(hit.metadata["even"] for hit in found)


def test_a_searched_text_without_words_changes_nothing(hybrid: Collection) -> None:
    hybrid.upsert([point("wordless", "of the", at=vector(9_001)), point("empty", "", at=vector(9_002))])
    for text in ("", "the of", "?!"):
        assert hybrid.search(QUERY, text=text, limit=20) == hybrid.search(QUERY, limit=20)
    assert hybrid.search(vector(9_002), text="river", limit=1, candidates=200)[0].document_id
    assert hybrid.get(["wordless", "empty"])["wordless"].text == "of the"


def test_replacing_a_text_replaces_its_words(hybrid: Collection) -> None:
    hybrid.upsert([point("chunk 3", "zebra", at=vector(3))])
    assert "chunk 3" in ids(hybrid.search(-vector(3), text="Zebras!", limit=2))
    hybrid.upsert([point("chunk 3", "lion", at=vector(3))])
    assert "chunk 3" not in ids(hybrid.search(-vector(3), text="zebra", limit=10))
    hybrid.upsert([point("chunk 3", "the", at=vector(3))])
    assert "chunk 3" not in ids(hybrid.search(-vector(3), text="lion", limit=10))


def test_diversity_chooses_by_maximal_marginal_relevance(filled: Collection) -> None:
    plain = filled.search(QUERY, limit=10)
    assert filled.search(QUERY, limit=10, diversity=0) == plain
    for diversity in (0.3, 0.7, 1.0):
        chosen = ids(filled.search(QUERY, limit=10, diversity=diversity, candidates=30))
        assert chosen == marginal(nearest()[:30], diversity, 10)
    assert likeness(ids(filled.search(QUERY, limit=10, diversity=1.0))) < likeness(ids(plain))


def marginal(candidates: list[str], diversity: float, limit: int) -> list[str]:
    """Return a choice by the formula of maximal marginal relevance."""
    chosen = [max(candidates, key=cosine)]
    while len(chosen) < limit:
        left = [chunk for chunk in candidates if chunk not in chosen]
        nearest_chosen = {chunk: max(cosine(chunk, vector(int(c.split()[1]))) for c in chosen) for chunk in left}
        chosen.append(max(left, key=lambda c: (1 - diversity) * cosine(c) - diversity * nearest_chosen[c]))
    return chosen


def likeness(chunks: list[str]) -> float:
    """Return the highest cosine between two of them."""
    return max(cosine(a, vector(int(b.split()[1]))) for a in chunks for b in chunks if a != b)


def test_pages_of_a_diverse_search_are_parts_of_one_list(filled: Collection) -> None:
    whole = filled.search(QUERY, limit=20, diversity=0.5, candidates=50)
    assert filled.search(QUERY, limit=5, offset=5, diversity=0.5, candidates=50) == whole[5:10]
    assert filled.search(QUERY, limit=5, offset=18, diversity=0.5, candidates=50) == whole[18:] + filled.search(
        QUERY, limit=3, offset=20, diversity=0.5, candidates=50
    )


def test_group_returns_the_best_chunk_of_each_document(filled: Collection) -> None:
    best: dict[int, str] = {}
    for chunk in nearest():
        best.setdefault(int(chunk.split()[1]) % 24, chunk)
    everyone = list(best.values())
    assert ids(filled.search(QUERY, group=True, limit=100)) == everyone
    assert ids(filled.search(QUERY, group=True, limit=5, offset=3)) == everyone[3:8]
    assert ids(filled.search(QUERY, group=True, limit=100, candidates=1)) == everyone


def test_a_document_with_many_chunks_does_not_hide_others(collection: Collection) -> None:
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


def test_a_document_id_may_be_the_id_of_another_documents_chunk(collection: Collection) -> None:
    collection.upsert([point("a", at=vector(1), document_id="b"), point("b", at=vector(1), document_id="c")])
    collection.upsert([point("c", at=vector(1), document_id="a"), point("d", at=vector(1), document_id="a")])
    found = collection.search(vector(1), group=True, limit=10, candidates=1)
    assert sorted(hit.document_id for hit in found) == ["a", "b", "c"]


@pytest.mark.server
def test_each_point_of_another_package_is_a_document(server_url: str, admin: QdrantClient, fresh_name: str) -> None:
    params = models.VectorParams(size=DIMENSION, distance=models.Distance.COSINE)
    admin.create_collection(fresh_name, vectors_config=params)
    batch = models.Batch(ids=list(range(5)), vectors=[vector(n).tolist() for n in range(5)], payloads=[{}] * 5)
    admin.upsert(fresh_name, batch, wait=True)
    with Collection.open(server_url, name=fresh_name) as collection:
        found = collection.search(vector(2), group=True, limit=10, candidates=1)
        assert sorted(ids(found)) == ["0", "1", "2", "3", "4"]
        assert not collection.hybrid


def test_a_large_limit_returns_every_point(hybrid: Collection) -> None:
    for options in ({}, {"text": "river"}, {"group": True}, {"diversity": 0.5}):
        expected = 24 if "group" in options else POINTS
        assert len(hybrid.search(QUERY, limit=16_384, **options)) == expected  # type: ignore[arg-type]


def test_all_options_can_be_combined(hybrid: Collection) -> None:
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
def test_asearch_returns_the_hits_of_search(hybrid: Collection, options: dict[str, Any]) -> None:
    async def many() -> list[list[Hit]]:
        return await asyncio.gather(*(hybrid.asearch(QUERY, **options) for _ in range(3)))

    for _ in range(2):  # with a new event loop each time
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
        ({"diversity": 0.5, "limit": 16_385}, ValueError, "at most 16384 candidates, got 16385"),
        ({"text": "a\ud800"}, InvalidText, "lone surrogate"),
        ({"limit": 0, "group": True}, ValueError, "limit must be greater than or equal to 1, got 0"),
    ],
)
def test_invalid_search_options_are_refused(
    collection: Collection, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        collection.search(QUERY, **options)
    with pytest.raises(error, match=words):
        collection.check_search(**options)
