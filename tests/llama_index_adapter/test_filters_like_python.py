"""Random ``MetadataFilters`` find exactly what plain Python finds."""

from __future__ import annotations

from typing import Any

import pytest
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores.types import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters

from t1_vectorstore.llama_index import T1Embedding, T1QdrantVectorStore
from t1_vectorstore.types import AllOf, AnyOf, NoneOf
from tests.collection.filter_oracle import INDEXES, cases, points

OPERATORS = {
    "eq": FilterOperator.EQ,
    "ne": FilterOperator.NE,
    "in": FilterOperator.IN,
    "not_in": FilterOperator.NIN,
    "gt": FilterOperator.GT,
    "gte": FilterOperator.GTE,
    "lt": FilterOperator.LT,
    "lte": FilterOperator.LTE,
    "text": FilterOperator.TEXT_MATCH,
}
CONDITIONS = {AllOf: FilterCondition.AND, AnyOf: FilterCondition.OR, NoneOf: FilterCondition.NOT}


def translated(filter: Any) -> MetadataFilters | None:
    """The same filter for LlamaIndex; ``None`` if its filters have no such value or operator."""
    if isinstance(filter, AllOf | AnyOf | NoneOf):
        parts = [part for part in map(translated, filter.filters) if part is not None]
        if len(parts) < len(filter.filters):
            return None
        return MetadataFilters(filters=[*parts], condition=CONDITIONS[type(filter)])
    single: list[MetadataFilter | MetadataFilters] = []
    for key, value in filter.items():
        if value is None:
            single.append(MetadataFilter(key=key, value=None, operator=FilterOperator.IS_EMPTY))
            continue
        operators = value if isinstance(value, dict) else {"in" if isinstance(value, list) else "eq": value}
        [(operator, wanted), *others] = operators.items()
        elements = wanted if isinstance(wanted, list) else [wanted]
        kinds = {type(element) for element in elements}
        if others or not kinds or len(kinds) > 1 or not kinds <= {int, float, str}:
            return None
        single.append(MetadataFilter(key=key, value=wanted, operator=OPERATORS[operator]))
    return MetadataFilters(filters=single)


@pytest.mark.thorough
def test_random_filters_find_the_same_as_python(embedding: T1Embedding) -> None:
    given, records = points()
    vector = embedding.get_text_embedding("a text")
    with T1QdrantVectorStore.open(":memory:", embedding, indexes=INDEXES) as store:
        metadata = {point.chunk.id: dict(point.chunk.metadata) for point in given}
        store.add([TextNode(id_=id_, text="text", metadata=metadata[id_], embedding=vector) for id_ in metadata])
        compared = 0
        for case in cases(1, 2000):
            filters = translated(case.filter)
            if filters is None or case.holds is None:
                continue
            compared += 1
            expected = [str(n) for n, record in enumerate(records) if case.holds(record)]
            found = sorted((node.node_id for node in store.get_nodes(filters=filters)), key=int)
            assert found == expected, filters
        assert compared > 200
