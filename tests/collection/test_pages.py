"""The pages of a query are parts of one ranking: nothing comes twice, and nothing is missing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from t1_vectorstore.collection import Collection
from t1_vectorstore.types import Hit
from tests.collection.conftest import Place
from tests.collection.points import DIMENSION, point

POINTS, DOCUMENTS = 162, 54  # three blocks of candidates: 50, 100, and the rest
QUERY = np.eye(DIMENSION, dtype=np.float32)[0]
WORDS = ("river", "climate", "export", "harbour", "season")
MODES: dict[str, dict[str, Any]] = {
    "vector": {},
    "rrf": {"text": "river climate"},
    "dbsf": {"text": "river climate", "fusion": "dbsf"},
    "mostly words": {"text": "river climate", "vector_weight": 0.2},
    "mostly vector": {"text": "river climate", "vector_weight": 0.8},
    "diverse": {"diversity": 0.5},
    "diverse fusion": {"text": "river climate", "diversity": 0.3},
    "threshold": {"score_threshold": 0.0},
    "diverse above threshold": {"score_threshold": 0.0, "diversity": 0.5},
    "fusion above threshold": {"score_threshold": 0.0, "text": "river climate"},
    "grouped": {"group": True},
    "grouped fusion": {"group": True, "text": "river climate"},
    "grouped and diverse": {"group": True, "diversity": 0.5},
    "filtered fusion": {"text": "river", "filter": {"even": True}},
    "words above threshold": {"score_threshold": 0.0, "text": "river climate", "vector_weight": 0},
    "grouped words above threshold": {
        "score_threshold": 0.0,
        "text": "river climate export harbour",
        "vector_weight": 0,
        "group": True,
    },
    "few candidates": {"text": "river", "candidates": 7},
}


@pytest.fixture
def filled(place: Place) -> Iterator[Collection]:
    """A hybrid collection of documents with three chunks each, at random places, some with the same words."""
    rng = np.random.default_rng(7)
    with place.open(hybrid=True) as collection:
        collection.upsert(
            point(
                f"c{number}",
                f"{rng.choice(WORDS)} {rng.choice(WORDS)} number {number}",
                {"even": number % 2 == 0},
                at=rng.standard_normal(DIMENSION).astype(np.float32),
                document_id=f"d{number % DOCUMENTS}",
            )
            for number in range(POINTS)
        )
        yield collection


def expected(collection: Collection, mode: dict[str, Any]) -> set[str]:
    """The ids of all hits that a mode has: of points, or of documents."""
    everything = collection.search(QUERY, limit=POINTS)
    assert len(everything) == POINTS
    kept = [hit for hit in everything if hit.score >= mode.get("score_threshold", -1)]
    kept = [hit for hit in kept if hit.metadata["even"] or "filter" not in mode]
    if mode.get("vector_weight") == 0:
        kept = [hit for hit in kept if set(hit.text.split()) & set(mode["text"].split())]
    return {name(hit, mode) for hit in kept}


def name(hit: Hit, mode: dict[str, Any]) -> str:
    return hit.document_id if mode.get("group") else hit.id


@pytest.mark.parametrize("label", MODES)
def test_pages_show_every_hit_once(filled: Collection, label: str) -> None:
    mode = MODES[label]
    for size in (10, 37):
        pages = []
        for offset in range(0, POINTS + size, size):
            page = filled.search(QUERY, limit=size, offset=offset, **mode)
            assert len(page) <= size
            pages += [name(hit, mode) for hit in page]
        assert len(pages) == len(set(pages))
        assert set(pages) == expected(filled, mode)


@pytest.mark.thorough
@pytest.mark.parametrize("label", MODES)
def test_a_page_does_not_depend_on_where_the_pages_before_it_ended(filled: Collection, label: str) -> None:
    mode = MODES[label]
    pages = [filled.search(QUERY, limit=10, offset=offset, **mode) for offset in (0, 10, 50, 60, 110)]
    for offset, page in zip((3, 13, 53, 63, 113), pages, strict=True):
        later = filled.search(QUERY, limit=10, offset=offset, **mode)
        assert later[:7] == page[3:]


def test_a_threshold_does_not_read_the_whole_collection_for_a_page(filled: Collection) -> None:
    """Few hits reach the threshold, and the search knows when all others are below it."""
    engine, asked = filled._engine, []
    nearest = engine.nearest
    engine.nearest = lambda query: (asked.append(query), nearest(query))[1]  # type: ignore[assignment, func-returns-value]
    best = filled.search(QUERY, limit=1)[0].score
    asked.clear()
    assert len(filled.search(QUERY, text="river", score_threshold=best, limit=10)) == 1
    assert len(asked) == 1
