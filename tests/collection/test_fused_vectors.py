"""Rankings by several vectors, fused by their ranks in one query, on every engine."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from t1_vectorstore.collection import Collection
from tests.collection.conftest import Place
from tests.collection.points import DIMENSION, point, vector
from tests.collection.search_corpus import POINTS, QUERY, K, bm25, corpus, cosine, ids, nearest

THOUGHTS = [vector(9_001), vector(9_002), vector(9_003)]


def fused(depth: int, text: str | None = None, vectors: Sequence[Any] = THOUGHTS) -> list[str]:
    """Return the chunks by the formula of reciprocal rank fusion; the words weigh as much as all vectors together."""
    rankings = [sorted(nearest(), key=lambda chunk: -cosine(chunk, each))[:depth] for each in vectors]
    rankings += [bm25(text)[:depth]] * len(vectors) if text else []
    scores: dict[str, float] = defaultdict(float)
    for ranking in rankings:
        for place, chunk in enumerate(ranking, 1):
            scores[chunk] += 1 / (K - 1 + place)
    return sorted(scores, key=lambda chunk: (-round(scores[chunk], 6), chunk))


@pytest.fixture
def hybrid(place: Place) -> Collection:
    collection = place.open(hybrid=True)
    collection.upsert(corpus())
    return collection


@pytest.mark.parametrize("text", [None, "river export"])
def test_each_vector_has_a_ranking(hybrid: Collection, text: str | None) -> None:
    for limit in (1, 10):
        found = hybrid.search(QUERY, text=text, limit=limit, fused_vectors=THOUGHTS)
        assert ids(found) == fused(50, text)[:limit]
        assert [hit.score for hit in found] == pytest.approx([cosine(hit.id) for hit in found], abs=2e-6)
        awaited = asyncio.run(hybrid.asearch(QUERY, text=text, limit=limit, fused_vectors=np.stack(THOUGHTS)))
        assert awaited == found
    whole = hybrid.search(QUERY, text=text, limit=POINTS, fused_vectors=THOUGHTS)
    assert ids(whole) == fused(POINTS, text)
    assert len(whole) == POINTS


def test_one_vector_is_its_own_ranking(hybrid: Collection) -> None:
    assert ids(hybrid.search(QUERY, limit=20, fused_vectors=[QUERY])) == nearest()[:20]
    assert hybrid.search(QUERY, limit=20, fused_vectors=[]) == hybrid.search(QUERY, limit=20)
    assert hybrid.search(QUERY, text="river", fused_vectors=[QUERY]) == hybrid.search(QUERY, text="river")


def test_the_other_options_apply_to_the_fused_ranking(hybrid: Collection) -> None:
    def search(**options: Any) -> list[Any]:
        return hybrid.search(QUERY, fused_vectors=THOUGHTS, candidates=POINTS, **options)

    whole = search(limit=40)
    assert [hit for offset in (0, 10, 20, 30) for hit in search(limit=10, offset=offset)] == whole
    even = search(limit=POINTS, filter={"even": True})
    assert {hit.id for hit in even} == {f"chunk {n}" for n in range(0, POINTS, 2)}
    above = search(limit=POINTS, score_threshold=0.2)
    assert ids(above) == [chunk for chunk in fused(POINTS) if cosine(chunk) >= 0.2]
    first: dict[str, str] = {}
    for hit in search(limit=POINTS):
        first.setdefault(hit.document_id, hit.id)
    assert ids(search(limit=POINTS, group=True)) == list(first.values())
    weighted = search(text="river", vector_weight=1.0, limit=20)
    assert ids(weighted) == fused(POINTS)[:20]
    assert ids(search(text="river", vector_weight=0.0, limit=5)) == bm25("river")[:5]
    assert search(text="river", fusion="dbsf", limit=10)
    diverse = hybrid.search(QUERY, fused_vectors=THOUGHTS, limit=8, diversity=0.4, candidates=20)
    assert {hit.id for hit in diverse} <= set(fused(20)[:20])
    assert len(diverse) == 8


def test_pages_beyond_the_candidates(hybrid: Collection) -> None:
    pages = [
        hit for at in range(0, POINTS, 20) for hit in hybrid.search(QUERY, limit=20, offset=at, fused_vectors=THOUGHTS)
    ]
    assert len({hit.id for hit in pages}) == POINTS


def test_a_threshold_finds_what_is_nearest_to_the_query_and_far_from_each_vector(place: Place) -> None:
    """All candidates are below the threshold, which says nothing about the others."""
    first, second = np.eye(DIMENSION, dtype=np.float32)[:2]
    with place.open(hybrid=True) as collection:
        groups = [("a", first), ("b", second)]
        collection.upsert(
            point(f"{name}{n}", at=at, document_id=f"{name}{n % 7}") for name, at in groups for n in range(60)
        )
        collection.upsert([point("between", at=first + second)])
        for options in ({}, {"group": True}):
            search: dict[str, Any] = {"fused_vectors": [first, second], "score_threshold": 0.9, **options}
            assert ids(collection.search(first + second, **search)) == ["between"]
            assert collection.search(first - second, **search) == []


def test_wrong_vectors_are_refused(hybrid: Collection) -> None:
    for wrong in ([[1.0, 2.0]], [[float("nan")] * len(QUERY)], [[0.0] * len(QUERY)]):
        with pytest.raises(ValueError, match="fused vector"):
            hybrid.search(QUERY, fused_vectors=wrong)
