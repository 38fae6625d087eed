"""Weighted fusion, compared with that of Qdrant's client library."""

from __future__ import annotations

import random

import pytest
from qdrant_client import models
from qdrant_client.hybrid.fusion import reciprocal_rank_fusion

from t1_vectorstore.collection.fusion import fuse
from t1_vectorstore.engines import RRF_K
from t1_vectorstore.types import Hit


def ranking(draw: random.Random) -> list[str]:
    return [f"{n:02}" for n in draw.sample(range(40), draw.randint(0, 30))]


@pytest.mark.parametrize("share", [0.01, 0.1, 0.3, 0.5, 0.7, 0.99])
def test_weighted_fusion_equals_qdrants(share: float) -> None:
    draw = random.Random(3)
    for _ in range(50):
        first, second = ranking(draw), ranking(draw)
        ours = fuse([(share, hits(first)), (1 - share, hits(second))])
        theirs = reciprocal_rank_fusion(
            [points(first), points(second)], 80, ranking_constant_k=RRF_K, weights=[2 * share, 2 * (1 - share)]
        )
        expected = sorted(theirs, key=lambda point: (-round(point.score, 12), str(point.id)))
        assert [hit.id for hit in ours] == [point.id for point in expected]


def test_the_fusion_of_one_ranking_is_that_ranking() -> None:
    assert [hit.id for hit in fuse([(1.0, hits(["c", "a", "b"]))])] == ["c", "a", "b"]


def hits(ids: list[str]) -> list[Hit]:
    return [Hit(each, 0.0, "", {}, each, 0, 0) for each in ids]


def points(ids: list[str]) -> list[models.ScoredPoint]:
    return [models.ScoredPoint(id=each, version=0, score=0.0) for each in ids]
