"""A filter finds the same on every engine, and the same as plain Python."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import date, datetime, timezone
from typing import Any

import pytest
from qdrant_client import QdrantClient, models

from t1_vectorstore.collection import Collection
from t1_vectorstore.collection.filters import compile_filter
from t1_vectorstore.engines import Row
from t1_vectorstore.engines.embedded.filters import edge_filter
from t1_vectorstore.errors import FilterWarning
from t1_vectorstore.types import AllOf, AnyOf, IdIn, NoneOf, json_roundtrip
from tests.collection.conftest import Place
from tests.collection.points import MODEL, point, vector

VALUES: list[Any] = [
    0, 1, 2, -1, 1.0, 2.0, 0.5, 0.1, -0.0, True, False, None, "", "1", "a", "A", "true", "a b", "é", [], [1], [True],
    ["a", "b"], ["b", None], [None], [1, 5], [0.5, "a"], {}, {"a": 1}, 2**53 + 1, 2**63 - 1, -(2**63), 1e300, [[1]],
]  # fmt: skip
MISSING = object()


def holds(stored: Any, wanted: Any) -> bool:
    """Equality as the documentation of filters defines it."""
    if wanted is None:
        return stored is MISSING or stored is None or stored == []
    elements = stored if isinstance(stored, list) else [stored]
    if isinstance(wanted, bool):
        return any(isinstance(element, bool) and element == wanted for element in elements)
    if isinstance(wanted, int | float):
        return any(
            isinstance(element, int | float) and not isinstance(element, bool) and element == wanted
            for element in elements
        )
    return any(isinstance(element, str) and element == wanted for element in elements)


@pytest.fixture
def filled(collection: Collection) -> Collection:
    collection.upsert([point(str(n), metadata={"x": value}) for n, value in enumerate(VALUES)])
    collection.upsert([point(str(len(VALUES)), metadata={"y": 1})])
    return collection


STORED = [*VALUES, MISSING]


def matching(collection: Collection, filter: Any) -> list[Any]:
    found = sorted(int(chunk.id) for chunk in collection.scroll(filter))
    assert collection.count(filter) == len(found)
    assert sorted(int(hit.id) for hit in collection.search([1.0] * 8, limit=100, filter=filter)) == found
    return [STORED[number] for number in found]


WANTED = [0, 1, 2, 2.0, 0.5, 0.1, True, False, None, "", "1", "a", "true", "a b", "é", 2**53 + 1, 2**63 - 1]


def test_equality(filled: Collection) -> None:
    for wanted in WANTED:
        expected = [stored for stored in STORED if holds(stored, wanted)]
        assert matching(filled, {"x": wanted}) == expected, wanted
        assert matching(filled, {"x": {"eq": wanted}}) == expected, wanted
        rest = [stored for stored in STORED if not holds(stored, wanted)]
        assert matching(filled, {"x": {"ne": wanted}}) == rest, wanted


@pytest.mark.parametrize("wanted", [["a", "b"], [1, 2], [1, "a", True, None], [0.5], [None], [], ("a",), {"a"}])
def test_any_of_and_none_of(filled: Collection, wanted: Any) -> None:
    options = list(wanted)
    expected = [stored for stored in STORED if any(holds(stored, option) for option in options)]
    assert matching(filled, {"x": wanted}) == expected
    assert matching(filled, {"x": {"in": wanted}}) == expected
    rest = [stored for stored in STORED if not any(holds(stored, option) for option in options)]
    assert matching(filled, {"x": {"not_in": wanted}}) == rest


@pytest.mark.parametrize(
    "bounds",
    [{"gte": 1}, {"gt": 1}, {"lt": 1}, {"lte": 0.5}, {"gte": 1, "lt": 2}, {"gt": 1, "lt": 5}, {"gte": 3, "lte": 2}],
)
def test_ranges(filled: Collection, bounds: dict[str, float]) -> None:
    tests = {
        "gt": lambda a, b: a > b,
        "gte": lambda a, b: a >= b,
        "lt": lambda a, b: a < b,
        "lte": lambda a, b: a <= b,
    }

    def within(stored: Any) -> bool:
        elements = stored if isinstance(stored, list) else [stored]
        numbers = [e for e in elements if isinstance(e, int | float) and not isinstance(e, bool)]
        return any(all(tests[name](number, bound) for name, bound in bounds.items()) for number in numbers)

    assert matching(filled, {"x": bounds}) == [stored for stored in STORED if within(stored)]


def test_dates(collection: Collection) -> None:
    days = ["1999-12-31", "2000-01-01T00:00:00Z", "2000-01-01T12:00:00+02:00", "2001-05-05T01:02:03.5Z", "yesterday"]
    collection.upsert(point(str(n), metadata={"at": day}) for n, day in enumerate(days))

    def found(bounds: dict[str, Any]) -> list[int]:
        return sorted(int(chunk.id) for chunk in collection.scroll({"at": bounds}))

    assert found({"gte": "2000-01-01"}) == [1, 2, 3]
    assert found({"gte": date(2000, 1, 1), "lt": "2000-01-01T10:00:00Z"}) == [1]
    assert found({"gt": datetime(2000, 1, 1, 9, 59, tzinfo=timezone.utc)}) == [2, 3]
    assert found({"lt": "2000-01-01"}) == [0]


def test_nested_and_unusual_keys(collection: Collection) -> None:
    metadata: Mapping[str, Any] = {
        "author": {"name": "Ada", "tags": ["x", "y"]},
        "parts": [{"kind": "a"}, {"kind": "b"}],
        "a.b": 1,
        "with space": {"é": 2},
        "1": "digit",
        "#%/": {"?": True},
    }
    collection.upsert([point("1", metadata=metadata), point("2")])
    for filter in (
        {"author.name": "Ada"},
        {"author.tags": "y"},
        {"parts[].kind": "b"},
        {'"a.b"': 1},
        {"with space.é": 2},
        {"1": "digit"},
        {"#%/.?": True},
        {"author.name": "Ada", "1": "digit"},
    ):
        assert [chunk.id for chunk in collection.scroll(filter)] == ["1"], filter
    assert collection.count({"author": {"ne": "Ada"}}) == 2
    assert collection.count({"a.b": 1}) == 0


@pytest.mark.parametrize(
    ("filter", "words"),
    [
        ({"a": {"near": 1}}, "no operator 'near'.*known operators are eq, ne, in, not_in, text, gt, gte, lt, lte"),
        ({"a": {"b": {"c": 1}}}, r"'a\.field'"),
        ({"a": {}}, "no operator at all"),
        ({"a": float("nan")}, "nan"),
        ({"a": float("inf")}, "inf"),
        ({"a": b"x"}, "b'x'"),
        ({"a": object()}, "object"),
        ({"a": {"gte": "x"}}, "ISO 8601"),
        ({"a": {"gte": True}}, "finite number"),
        ({"a": {"gte": None}}, "finite number"),
        ({"a": {"gte": 1, "lt": "2000-01-01"}}, "mixes numbers and dates"),
        ({"a": {"in": "abc"}}, "needs a list"),
        ({"a": {"not_in": 3}}, "needs a list"),
        ({"a": [[1]]}, "values are strings"),
        ({"": 1}, "is not the path"),
        ({"a.": 1}, "is not the path"),
        ({".a": 1}, "is not the path"),
        ({"a..b": 1}, "is not the path"),
        ({'a"b': 1}, "is not the path"),
        ({"a[x]": 1}, "is not the path"),
    ],
)
def test_the_error_about_an_invalid_filter_explains_it(filter: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        compile_filter(filter, "metadata")


@pytest.mark.parametrize("filter", ["country = France", 7, ["a"], {1: 2}, models.FieldCondition(key="a", is_null=True)])
def test_a_filter_of_another_type_is_refused(filter: Any) -> None:
    with pytest.raises(TypeError):
        compile_filter(filter, "metadata")


EVERY_CONDITION = [
    models.FieldCondition(key="metadata.x", match=models.MatchValue(value="a")),
    models.FieldCondition(key="metadata.x", match=models.MatchValue(value=True)),
    models.FieldCondition(key="metadata.x", match=models.MatchValue(value=1)),
    models.FieldCondition(key="metadata.x", match=models.MatchAny(any=["a", "b"])),
    models.FieldCondition(key="metadata.x", match=models.MatchAny(any=[1, 2])),
    models.FieldCondition(key="metadata.x", match=models.MatchExcept(**{"except": ["a", "b"]})),
    models.FieldCondition(key="metadata.x", match=models.MatchText(text="a")),
    models.FieldCondition(key="metadata.x", range=models.Range(gte=1, lt=2)),
    models.FieldCondition(key="metadata.x", range=models.DatetimeRange(gte=datetime(2000, 1, 1, tzinfo=timezone.utc))),
    models.FieldCondition(key="metadata.x", values_count=models.ValuesCount(gte=2)),
    models.FieldCondition(
        key="metadata.x", geo_radius=models.GeoRadius(center=models.GeoPoint(lon=1, lat=2), radius=9)
    ),
    models.FieldCondition(
        key="metadata.x",
        geo_bounding_box=models.GeoBoundingBox(
            top_left=models.GeoPoint(lon=0, lat=9), bottom_right=models.GeoPoint(lon=9, lat=0)
        ),
    ),
    models.FieldCondition(
        key="metadata.x",
        geo_polygon=models.GeoPolygon(
            exterior=models.GeoLineString(
                points=[models.GeoPoint(lon=a, lat=b) for a, b in ((0, 0), (0, 9), (9, 9), (0, 0))]
            )
        ),
    ),
    models.IsEmptyCondition(is_empty=models.PayloadField(key="metadata.x")),
    models.IsNullCondition(is_null=models.PayloadField(key="metadata.x")),
    models.FieldCondition(key="metadata.x", is_null=True),
    models.FieldCondition(key="metadata.x", is_empty=True),
    models.HasIdCondition(has_id=[1, 2, "0b5ee3a4-7f0e-4a52-9f6e-3f3f6f1c2d11"]),
    models.NestedCondition(
        nested=models.Nested(
            key="metadata.x",
            filter=models.Filter(must=[models.FieldCondition(key="a", match=models.MatchValue(value=1))]),
        )
    ),
]


@pytest.mark.parametrize("condition", EVERY_CONDITION, ids=lambda condition: str(condition)[:60])
def test_qdrants_own_filter_passes_unchanged(condition: Any) -> None:
    for filter in (
        models.Filter(must=[condition]),
        models.Filter(must=condition),
        models.Filter(must_not=[condition], should=[models.Filter(must=[condition])]),
        models.Filter(min_should=models.MinShould(conditions=[condition], min_count=1)),
    ):
        compiled = compile_filter(filter, "metadata")
        assert compiled is not None
        assert models.Filter.model_validate(compiled) == filter
        edge_filter(compiled)


def test_qdrants_own_filter_finds_the_same_on_every_engine(filled: Collection) -> None:
    expected = {
        0: ["a", ["a", "b"], [0.5, "a"]],
        1: [True, [True]],
        4: [1, 2, [1], [1, 5]],
        7: [1, 1.0, [1], [1, 5]],
        9: [["a", "b"], ["b", None], [1, 5], [0.5, "a"]],
        13: [None, [], MISSING],
        17: [1, 2],
    }
    for number, values in expected.items():
        assert matching(filled, models.Filter(must=[EVERY_CONDITION[number]])) == values, number
    either = models.Filter(should=[EVERY_CONDITION[0], EVERY_CONDITION[1]], must_not=[EVERY_CONDITION[4]])
    assert matching(filled, either) == [True, "a", [True], ["a", "b"], [0.5, "a"]]
    assert matching(filled, models.Filter()) == STORED


def test_a_condition_that_the_embedded_engine_lacks_is_an_error() -> None:
    slice_ = models.Filter(must=[models.SliceCondition(slice=models.Slice(total=2, index=0))])
    compiled = compile_filter(slice_, "metadata")
    assert compiled is not None
    with pytest.raises(ValueError, match=r"does not have the filter condition.*slice"):
        edge_filter(compiled)


def test_random_filters_find_the_same_as_python(filled: Collection) -> None:
    drawn = random.Random(7)
    for _ in range(40):
        wanted, unwanted = drawn.sample(WANTED, 3), drawn.choice(WANTED)
        expected = [
            stored for stored in STORED if any(holds(stored, w) for w in wanted) and not holds(stored, unwanted)
        ]
        assert matching(filled, {"x": {"in": wanted, "ne": unwanted}}) == expected, (wanted, unwanted)


def test_words_are_compared_alike_on_every_engine_or_refused(place: Place) -> None:
    titles: list[Any] = ["The quick Brown fox", ["lazy dog", "Hot dog"], "foxes", 7, "quick/BROWN"]
    collection = place.open(indexes={"title": "text"})
    collection.upsert(point(str(n), metadata={"title": title, "plain": title}) for n, title in enumerate(titles))
    searches = [("quick Brown", ["0", "4"]), ("brown QUICK", ["0", "4"]), ("DOG", ["1"]), ("wolf", []), ("fo", [])]
    for words, expected in searches:
        assert [chunk.id for chunk in collection.scroll({"title": {"text": words}})] == expected
        if place.engine == "server" and collection._engine.words_need_index():
            with pytest.raises(ValueError, match=r"'text' on 'plain' needs a text index .*indexes=\{'plain': 'text'\}"):
                collection.count({"plain": {"text": words}})
        else:
            assert [chunk.id for chunk in collection.scroll({"plain": {"text": words}})] == expected
    with pytest.raises(ValueError, match="'text' on 'title' needs words"):
        collection.count({"title": {"text": " "}})


@pytest.mark.server
def test_words_can_be_searched_after_an_index_was_added_on_the_server(
    fresh_name: str, server_url: str, admin: QdrantClient
) -> None:
    with Collection.open(server_url, identity=MODEL, name=fresh_name) as collection:
        collection.upsert([point("1", metadata={"title": "The quick Brown fox"})])
    admin.create_payload_index(fresh_name, "metadata.title", models.PayloadSchemaType.TEXT, wait=True)
    with Collection.open(server_url, name=fresh_name) as collection:
        assert collection.count({"title": {"text": "BROWN"}}) == 1


@pytest.mark.parametrize("date", ["2024-13-45", "2024-02-30", "2024-05-01T10:61:00"])
def test_an_invalid_date_is_refused_in_one_line(collection: Collection, date: str) -> None:
    for operator in ("gt", "gte", "lt", "lte"):
        with pytest.raises(ValueError, match=f"{operator!r} on 'd' has {date!r}, which is not a date") as caught:
            collection.search([1.0] * 8, filter={"d": {operator: date}})
        assert "\n" not in str(caught.value)
    assert collection.count({"d": date}) == 0


def test_bounds_on_an_integer_index_are_rounded_inwards(place: Place) -> None:
    collection = place.open(indexes={"n": "integer"})
    collection.upsert(point(str(n), metadata={"n": n}) for n in range(-5, 6))
    for filter, expected in [
        ({"n": {"gte": 3.5}}, [4, 5]),
        ({"n": {"gt": 3.5}}, [4, 5]),
        ({"n": {"lte": -3.5}}, [-5, -4]),
        ({"n": {"lt": -3.5}}, [-5, -4]),
        ({"n": {"gt": 3, "lt": 4.5}}, [4]),
        ({"n": {"gt": 3, "lt": 4}}, []),
        ({"n": {"gte": 1.2, "lte": 1.8}}, []),
        ({"n": 1.5}, []),
        ({"n": 2.0}, [2]),
        ({"n": [1.5, 2.0, 3, True]}, [2, 3]),
        ({"n": {"not_in": [1.5]}}, list(range(-5, 6))),
        ({"n": {"lte": 1e300, "gt": 4}}, [5]),
    ]:
        assert sorted(int(chunk.id) for chunk in collection.scroll(filter)) == expected, filter
    assert collection.delete(filter={"n": {"gte": 3.5}}) == 2
    assert collection.count({"n": {"gte": 3}}) == 1


@pytest.mark.parametrize("kind", [None, "integer", "float"])
def test_integers_beyond_floats_are_compared_exactly(place: Place, kind: Any) -> None:
    collection = place.open(indexes={"n": kind} if kind else None)
    now = 1_764_374_400_123_456_789  # a time in nanoseconds
    numbers = [now + offset for offset in (-600, -257, -1, 0, 1, 255, 600)] + [
        2**53 + offset for offset in (-1, 0, 1, 2)
    ]
    collection.upsert(point(str(n), metadata={"n": n}) for n in numbers)
    for bound in numbers:
        for operator, holds in [("gte", int.__ge__), ("gt", int.__gt__), ("lte", int.__le__), ("lt", int.__lt__)]:
            found = {int(chunk.id) for chunk in collection.scroll({"n": {operator: bound}})}
            assert found == {n for n in numbers if holds(n, bound)}, (operator, bound)
        assert [int(chunk.id) for chunk in collection.scroll({"n": bound})] == [bound]
    assert collection.delete(filter={"n": {"gte": now, "lt": now + 2}}) == 2


def test_a_float_is_found_by_its_own_value_although_json_changes_it(place: Place) -> None:
    drawn = random.Random(5)
    numbers = [number for number in (drawn.random() for _ in range(200)) if json_roundtrip(number) != number]
    assert len(numbers) > 10
    collection = place.open(indexes={"indexed": "float"})
    collection.upsert(point(str(n), metadata={"x": x, "indexed": x}) for n, x in enumerate(numbers))
    for n, number in enumerate(numbers):
        for field in ("x", "indexed"):
            for filter in ({field: number}, {field: [number]}, {field: {"gte": number, "lte": number}}):
                assert [chunk.id for chunk in collection.scroll(filter)] == [str(n)], filter
            assert collection.count({field: {"gt": number}}) == sum(other > number for other in numbers)


@pytest.mark.parametrize(
    ("indexes", "filter", "words"),
    [
        (
            {"d": "datetime"},
            {"d": {"gte": 2000}},
            "'d' is indexed as datetime, .* range of numbers: .*integer or float",
        ),
        ({"n": "integer"}, {"n": {"lt": "2024-01-01"}}, "'n' is indexed as integer, .* range of dates: .*datetime"),
        ({"n": "float"}, {"n": {"lt": date(2024, 1, 1)}}, "'n' is indexed as float, .* range of dates"),
        ({}, {"n": 2.0**63}, "9.223372036854776e.18, which cannot be compared exactly"),
        ({}, {"n": {"gte": 2**63 - 1}}, "9223372036854775807, which cannot be compared exactly"),
        ({}, {"n": 2**63}, "needs more than 64 bits"),
    ],
)
def test_what_an_index_or_a_number_does_not_allow_is_refused(
    place: Place, indexes: Any, filter: dict[str, Any], words: str
) -> None:
    collection = place.open(indexes=indexes)
    with pytest.raises(ValueError, match=words):
        collection.search([1.0] * 8, filter=filter)
    with pytest.raises(ValueError, match=words):
        collection.delete(filter=filter)


def test_a_long_list_of_numbers_is_a_few_conditions() -> None:
    compiled = compile_filter({"n": {"in": [*range(1000), "a", "b", True]}}, "metadata")
    assert len(compiled["must"][0]["should"]) == 3  # type: ignore[index]


@pytest.mark.parametrize("kind", [None, "integer", "float", "keyword"])
def test_a_long_list_of_numbers_finds_whole_floats_and_no_booleans(place: Place, kind: Any) -> None:
    collection = place.open(indexes={"n": kind} if kind else None)
    values: list[Any] = [1, 7, 50, True, "7", [300, 3], None, {"x": 5}]
    values += [] if kind == "integer" else [7.0, 8.5, [2.5, 9.0], 1e300]
    collection.upsert(point(str(n), metadata={"n": value}) for n, value in enumerate(values))
    wanted = [*range(1, 10), 8.5]
    expected = {str(n) for n, value in enumerate(values) if any(holds(value, number) for number in wanted)}
    assert {chunk.id for chunk in collection.scroll({"n": wanted})} == expected
    assert {chunk.id for chunk in collection.scroll({"n": {"not_in": wanted}})} == {
        *map(str, range(len(values)))
    } - expected


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        (AllOf([{"n": {"gte": 1}}, {"n": {"lt": 3}}]), [1, 2]),
        (AllOf([]), [0, 1, 2, 3]),
        (AllOf([None, {"n": 2}]), [2]),
        (AnyOf([{"n": 0}, {"n": 3}]), [0, 3]),
        (AnyOf([]), []),
        (AnyOf([{"n": 0}, {}]), [0, 1, 2, 3]),
        (NoneOf([{"n": 0}, {"n": 3}]), [1, 2]),
        (NoneOf([]), [0, 1, 2, 3]),
        (NoneOf([{"n": 0}, None]), []),
        (AnyOf([AllOf([{"n": [0, 1]}, NoneOf([{"n": 0}])]), IdIn(["3", "9"])]), [1, 3]),
        (IdIn(["0", "2"]), [0, 2]),
        (IdIn([]), []),
    ],
)
def test_combinations(collection: Collection, filter: Any, expected: list[int]) -> None:
    collection.upsert(point(str(n), metadata={"n": n}) for n in range(4))
    assert sorted(int(chunk.id) for chunk in collection.scroll(filter)) == expected
    assert sorted(int(hit.id) for hit in collection.search([1.0] * 8, filter=filter)) == expected
    assert collection.count(filter) == len(expected)


def test_delete_refuses_combinations_that_restrict_nothing(collection: Collection) -> None:
    collection.upsert([point("a")])
    for filter in (AllOf([]), AllOf([{}]), AnyOf([{}]), NoneOf([])):
        with pytest.raises(ValueError, match="would delete every point"):
            collection.delete(filter=filter)
    assert collection.count() == 1


def test_numbers_that_meet_only_strings_warn_once(place: Place) -> None:
    collection = place.open()
    collection.upsert([point("1", metadata={"year": "2001", "n": 1}), point("2", metadata={"year": "2002", "n": "x"})])
    collection.upsert([point("3")])
    words = "'year' with numbers, but the points have no numbers there, only other values such as '2001'"
    with pytest.warns(FilterWarning, match=words) as caught:
        assert collection.search([1.0] * 8, filter={"year": {"gte": 2000}}) == []
    assert caught[0].filename == __file__
    assert collection.search([1.0] * 8, filter={"year": {"gte": 2000}}) == []
    for silent in ({"n": {"gte": 100}}, {"missing": 3}, {"year": "1999"}, {"year": {"gte": "2003-01-01"}}):
        assert collection.count(silent) == 0
        assert collection.delete(filter=silent) == 0
    for call in (lambda: collection.count({"year": [2001, 2002]}), lambda: collection.delete(filter={"year": 2001})):
        collection._number_checks._known.clear()
        with pytest.warns(FilterWarning, match=words):
            assert call() == 0
    assert len(collection.search([1.0] * 8, filter={"year": {"ne": 2001}})) == 3


async def test_an_asynchronous_search_warns_as_well(place: Place) -> None:
    collection = place.open()
    collection.upsert([point("1", metadata={"a": {"b": [None, True]}})])
    with pytest.warns(FilterWarning, match=r"'a\.b' with numbers, .* such as None") as caught:
        assert await collection.asearch([1.0] * 8, filter=AnyOf([{"a.b": [1, 2, 3, 4, 5, 6]}, {"a.b": 0.5}])) == []
    assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.server
def test_the_indexes_of_an_adopted_collection_are_known(fresh_name: str, server_url: str, admin: QdrantClient) -> None:
    admin.create_collection(fresh_name, models.VectorParams(size=8, distance=models.Distance.COSINE))
    admin.create_payload_index(fresh_name, "metadata.n", models.PayloadSchemaType.INTEGER, wait=True)
    stored = [models.PointStruct(id=n, vector=[1.0] * 8, payload={"metadata": {"n": n}}) for n in range(1, 6)]
    admin.upsert(fresh_name, stored, wait=True)
    with Collection.open(server_url, name=fresh_name, identity=MODEL, adopt=True, content_key="text") as collection:
        assert [chunk.metadata["n"] for chunk in collection.scroll({"n": {"gte": 3.5}})] == [4, 5]
        assert collection.count({"n": 1.5}) == 0
        assert collection.delete(filter={"n": {"gt": 1, "lt": 3.5}}) == 2
        assert [chunk.metadata["n"] for chunk in collection.scroll()] == [1, 4, 5]


def test_a_list_of_few_numbers_finds_whole_floats_of_another_package(collection: Collection) -> None:
    collection._engine.write([Row(1, {"metadata": {"n": 2.0}}, vector(1)), Row(2, {"metadata": {"n": 3}}, vector(2))])
    assert collection.count({"n": 2}) == collection.count({"n": [1, 2, 4, 5]}) == 1
    assert collection.count({"n": [2, 3]}) == 2
