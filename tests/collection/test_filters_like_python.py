"""Thousands of random filters find exactly what plain Python finds, on every engine and with every kind of index."""

from __future__ import annotations

from typing import Any

import pytest

from t1_vectorstore.collection import Collection
from tests.collection.conftest import Place
from tests.collection.filter_oracle import INDEXES, cases, points
from tests.collection.points import point

CASES = {"memory": 700, "embedded": 3000, "server": 5000}


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore::t1_vectorstore.errors.FilterWarning")
def test_random_filters_find_the_same_as_python(place: Place) -> None:
    given, records = points()
    with place.open(indexes=INDEXES) as collection:
        collection.upsert(given)
        count, refused = CASES[place.engine], 0
        words_need_index = collection._engine.words_need_index()
        for n, case in enumerate(cases(count, count, words_need_index=words_need_index)):
            if case.holds is None:
                refused += 1
                with pytest.raises(ValueError, match=r"the filter on|is indexed as|a text index"):
                    collection.count(case.filter)
                continue
            expected = [str(k) for k, record in enumerate(records) if case.holds(record)]
            assert found(collection, case.filter) == expected, case.filter
            if n % 5 == 0:
                assert collection.count(case.filter) == len(expected), case.filter
                hits = collection.search([1.0] * 8, limit=1000, filter=case.filter)
                assert sorted((hit.id for hit in hits), key=int) == expected, case.filter
            if n % 20 == 0 and len(expected) < len(given):
                assert collection.delete(filter=case.filter) == len(expected), case.filter
                assert collection.count() == len(given) - len(expected)
                assert found(collection, case.filter) == []
                collection.upsert(given[int(deleted)] for deleted in expected)
        assert refused < count / 4


def found(collection: Collection, filter: Any) -> list[str]:
    return sorted((chunk.id for chunk in collection.scroll(filter)), key=int)


@pytest.mark.parametrize(
    ("kind", "value"), [("integer", 2.0), ("integer", [1, 2.5]), ("datetime", 2), ("datetime", ["2024-01-01", 0.5])]
)
def test_a_number_that_the_index_of_its_field_does_not_contain_is_refused(place: Place, kind: str, value: Any) -> None:
    collection = place.open(indexes={"deep.x": kind, "parts[].x": kind})
    for metadata in ({"deep": {"x": value}}, {"parts": [{}, {"x": value}]}):
        with pytest.raises(ValueError, match=rf"'bad' has .* in '.*x', which is indexed as {kind}, so"):
            collection.upsert([point("good"), point("bad", metadata=metadata)])
    allowed = {"deep": {"x": [True, None, "word", "2024-01-01", {"y": 0.5}]}, "x": 2.0}
    collection.upsert([point("good", metadata=allowed)])
    assert collection.get(["good"])["good"].metadata == allowed
