"""Every operator of LlamaIndex's filters, alone and nested, on every engine."""

from __future__ import annotations

from typing import Any

import pytest
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
)
from llama_index.core.vector_stores.utils import build_metadata_filter_fn

from t1_vectorstore.llama_index import T1Embedding, T1QdrantVectorStore
from t1_vectorstore.llama_index.filters import to_filter
from tests.collection.conftest import Place

METADATA: dict[str, dict[str, Any]] = {
    "a": {"country": "Norway", "year": 1999, "tags": ["x", "y"], "title": "Fjords of the north"},
    "b": {"country": "France", "year": 2001, "tags": ["y"], "title": "Fields of wheat"},
    "c": {"country": "France", "year": 2010, "tags": [], "title": "A north wind", "area": 0.5},
    "d": {"year": 2001.0, "country": None},
}


def leaf(key: str, operator: str, value: Any) -> MetadataFilter:
    return MetadataFilter(key=key, operator=FilterOperator(operator), value=value)


def group(condition: str, *filters: Any) -> MetadataFilters:
    return MetadataFilters(filters=list(filters), condition=FilterCondition(condition))


@pytest.fixture
def filled(place: Place, embedding: T1Embedding) -> T1QdrantVectorStore:
    store = T1QdrantVectorStore(place.open(identity=embedding.identity, indexes={"title": "text"}))
    store.add([TextNode(id_=name, text=name, metadata=given, embedding=[1.0] * 64) for name, given in METADATA.items()])
    return store


def found(store: T1QdrantVectorStore, filters: MetadataFilters) -> list[str]:
    nodes = sorted(node.node_id for node in store.get_nodes(filters=filters))
    query = VectorStoreQuery(query_embedding=[1.0] * 64, similarity_top_k=10, filters=filters)
    assert sorted(store.query(query).ids or []) == nodes
    return nodes


LEAVES = [
    leaf("country", "==", "France"),
    leaf("year", "==", 2001),
    leaf("area", "==", 0.5),
    leaf("country", "!=", "France"),
    leaf("year", ">", 2001),
    leaf("year", ">=", 2001),
    leaf("year", "<", 2001),
    leaf("year", "<=", 2001),
    leaf("country", "in", ["France", "Spain"]),
    leaf("year", "in", [1999, 2010]),
    leaf("country", "nin", ["France", "Spain"]),
    leaf("tags", "any", ["x", "z"]),
    leaf("tags", "all", ["x", "y"]),
    leaf("tags", "contains", "y"),
    leaf("title", "text_match", "north"),
    leaf("title", "text_match_insensitive", "north"),
    leaf("country", "is_empty", None),
    leaf("tags", "is_empty", None),
]


def test_every_operator_is_covered() -> None:
    assert {given.operator for given in LEAVES} == set(FilterOperator)


def test_operators_have_the_meaning_of_llama_index(filled: T1QdrantVectorStore) -> None:
    for given in LEAVES:
        for condition in FilterCondition:
            filters = MetadataFilters(filters=[given], condition=condition)
            expected = filter(build_metadata_filter_fn(lambda name: METADATA[name], filters), METADATA)
            assert found(filled, filters) == list(expected), filters


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (group("and", leaf("country", "==", "France"), leaf("year", ">", 2005)), ["c"]),
        (group("or", leaf("country", "==", "Norway"), leaf("year", ">", 2005)), ["a", "c"]),
        (group("not", leaf("country", "==", "Norway"), leaf("year", ">", 2005)), ["b", "d"]),
        (
            group(
                "and",
                leaf("year", ">=", 2001),
                group("or", leaf("country", "is_empty", None), group("not", leaf("tags", "contains", "y"))),
            ),
            ["c", "d"],
        ),
        (group("or", leaf("country", "==", "Norway"), group("and")), ["a"]),
        (group("and"), ["a", "b", "c", "d"]),
        (group("not"), ["a", "b", "c", "d"]),
        (group("or", group("or"), group("and", group("not"))), ["a", "b", "c", "d"]),
    ],
)
def test_nested_groups(filled: T1QdrantVectorStore, filters: MetadataFilters, expected: list[str]) -> None:
    assert found(filled, filters) == expected


def test_the_default_condition_is_and() -> None:
    filters = MetadataFilters(filters=[leaf("a", "==", 1), leaf("b", "==", 2)], condition=None)
    assert to_filter(filters) == to_filter(group("and", *filters.filters))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (MetadataFilter.model_construct(key="a", value=1, operator="near"), "no operator 'near'; known operators are"),
        (leaf("a", "all", "x"), "the filter on 'a' needs a list, got 'x'"),
        (leaf("a", "in", 3), "the filter on 'a' needs a list, got 3"),
        (leaf("a", "==", ["x"]), r"compares with \['x'\]"),
        (leaf("a", ">", "x"), "needs a finite number or an ISO 8601 date, got 'x'"),
        (leaf("a", "text_match", 1), "'text' on 'a' needs words to search for, got 1"),
        (leaf("a..b", "==", 1), "'a..b'.* metadata field"),
    ],
)  # fmt: skip
def test_invalid_filters_are_refused(quick: T1QdrantVectorStore, given: MetadataFilter, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        quick.get_nodes(filters=MetadataFilters.model_construct(filters=[given], condition=FilterCondition.AND))
