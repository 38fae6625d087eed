"""Three hundred random searches with all combinations of options: the engines give the same answers.

What may differ, and is tested as such: texts that match the same words equally well. Each engine ranks such equals in
an order of its own before it fuses, so their places, and those of texts next to them, may be exchanged.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from t1_vectorstore.collection import Collection
from t1_vectorstore.types import AnyOf, Hit, IdIn, NoneOf, Point
from tests.collection.conftest import CLOSED_PORT
from tests.collection.points import MODEL, point, vector

pytestmark = pytest.mark.thorough

SEARCHES = 300
POINTS = 240
VOCABULARY = [f"word{n}" for n in range(40)]
INDEXES: dict[str, Any] = {"number": "integer", "colour": "keyword", "share": "float"}


def corpus() -> Iterator[Point]:
    """All texts have different lengths, so that no two have the same BM25 score; some have no words."""
    draw = random.Random(1)
    for n in range(POINTS):
        length = 0 if n % 40 == 0 else 2 * n + 3
        text = " ".join(draw.choices(VOCABULARY, [1 / (rank + 1) for rank in range(40)], k=length))
        metadata = {"number": n % 50, "share": n / POINTS, "tags": draw.sample(["a", "b", "c"], n % 3)}
        if n % 4:
            metadata["colour"] = draw.choice(["red", "green", "blue"])
        yield point(f"chunk {n}", text, metadata, vector(n), document_id=f"document {n % 30}")


def searches() -> Iterator[tuple[int, dict[str, Any]]]:
    draw = random.Random(2)
    filters: list[Any] = [
        {"colour": "red"},
        {"colour": ["red", "blue"], "number": {"gte": 10, "lt": 40}},
        {"share": {"gt": 0.5}, "tags": "a"},
        {"colour": None},
        {"colour": {"ne": "green"}},
        AnyOf([{"number": 7}, {"number": {"lt": 5}}, {"tags": {"in": ["c"]}}]),
        NoneOf([{"colour": "blue"}, {"share": {"lte": 0.25}}]),
        IdIn([f"chunk {n}" for n in range(0, POINTS, 3)]),
        {"number": 99},
    ]
    for n in range(SEARCHES):
        options: dict[str, Any] = {"limit": draw.randint(1, 25), "offset": draw.choice([0, 0, 3, 40])}
        if draw.random() < 0.5:
            options["filter"] = draw.choice(filters)
        if draw.random() < 0.5:
            options["text"] = " ".join(draw.choices([*VOCABULARY, "the", "unknown"], k=draw.randint(1, 4)))
            options["fusion"] = draw.choice(["rrf", "dbsf"])
            if options["fusion"] == "rrf" and draw.random() < 0.6:
                options["vector_weight"] = draw.choice([0, 0.1, 0.5, 0.7, 0.95, 1])
        if draw.random() < 0.35:
            options["diversity"] = draw.choice([0, 0.2, 0.5, 0.9, 1])
        if draw.random() < 0.35:
            options["group"] = True
        if draw.random() < 0.3:
            options["score_threshold"] = draw.uniform(-0.5, 0.7)
        if draw.random() < 0.4:
            options["candidates"] = draw.choice([1, 10, 100, 500])
        yield 10_000 + n, options


@pytest.fixture(scope="module")
def memory() -> Iterator[Collection]:
    with Collection.open(":memory:", identity=MODEL, hybrid=True, indexes=INDEXES) as collection:
        collection.upsert(corpus())
        yield collection


@pytest.fixture(scope="module")
def answers(memory: Collection) -> list[list[Hit]]:
    return [memory.search(vector(seed), **options) for seed, options in searches()]


def test_the_searches_cover_all_combinations_of_options(answers: list[list[Hit]]) -> None:
    assert sum(len(hits) > 0 for hits in answers) > SEARCHES * 0.7
    kinds = [tuple(sorted(options.keys() & {"text", "diversity", "group", "filter"})) for _, options in searches()]
    assert len(set(kinds)) == 16


def compare(collection: Collection, answers: list[list[Hit]]) -> None:
    collection.upsert(corpus())
    for (seed, options), expected in zip(searches(), answers, strict=True):
        found = collection.search(vector(seed), **options)
        assert [hit.id for hit in found] == [hit.id for hit in expected], options
        assert [hit.score for hit in found] == pytest.approx([hit.score for hit in expected], abs=5e-4), options


def test_the_embedded_engine_answers_like_memory(answers: list[list[Hit]], tmp_path: Path) -> None:
    with Collection.open(tmp_path / "index", identity=MODEL, hybrid=True, indexes=INDEXES) as collection:
        compare(collection, answers)


@pytest.mark.server
@pytest.mark.parametrize("grpc_port", [None, CLOSED_PORT], ids=["grpc", "rest"])
def test_a_server_answers_like_memory(
    answers: list[list[Hit]], server_url: str, fresh_name: str, grpc_port: int | None
) -> None:
    options: dict[str, Any] = {"name": fresh_name, "identity": MODEL, "hybrid": True, "indexes": INDEXES}
    with Collection.open(server_url, grpc_port=grpc_port, **options) as collection:
        compare(collection, answers)


def test_only_texts_with_equal_word_matches_may_change_places(memory: Collection, tmp_path: Path) -> None:
    twins = [point(f"twin {n}", "twin", at=vector(20_000 + n)) for n in range(12)]
    with Collection.open(tmp_path / "index", identity=MODEL, hybrid=True) as embedded:
        found = []
        for collection in (memory, embedded):
            collection.upsert(twins)
            found.append(collection.search(vector(3), text="twin", limit=12, filter=IdIn([t.chunk.id for t in twins])))
            collection.delete([twin.chunk.id for twin in twins])
    scores = [{hit.id: round(hit.score, 3) for hit in hits} for hits in found]
    assert scores[0] == scores[1]
    assert scores[0].keys() == {twin.chunk.id for twin in twins}
