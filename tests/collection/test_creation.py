"""The options that are fixed at the creation of a collection: words, indexes and the tenant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import qdrant_edge as edge
from qdrant_client import QdrantClient, models

from t1_vectorstore.collection import Collection
from t1_vectorstore.errors import CollectionMismatch
from tests.collection.conftest import Place
from tests.collection.points import MODEL, point, points, vector

INDEXES: dict[str, Any] = {
    "number": "integer",
    "author.name": "keyword",
    "share": "float",
    "safe": "bool",
    "seen": "datetime",
    "title": "text",
}
METADATA = {
    "number": 7,
    "author": {"name": "Ada"},
    "share": 0.5,
    "safe": True,
    "seen": "2024-05-01T00:00:00Z",
    "title": "The capital city",
    "customer": "c1",
}


def reopened(place: Place, **options: Any) -> Collection:
    if place.engine == "memory":
        pytest.skip("a collection in memory cannot be opened again")
    place.close()
    return place.open(**options)


def test_a_collection_stores_its_creation_options(place: Place) -> None:
    place.open(hybrid=True, indexes=INDEXES, tenant="customer").upsert(points(3))
    again = reopened(place)
    assert again.hybrid
    assert len(again.search(vector(1), text="doc", limit=5)) == 3
    reopened(place, hybrid=True, indexes=INDEXES, tenant="customer", identity=None)


@pytest.mark.parametrize(
    ("made", "asked", "words"),
    [
        ({}, {"hybrid": True}, "hybrid=False and is opened with True"),
        ({"hybrid": True}, {"hybrid": False}, "hybrid=True and is opened with False"),
        (
            {"indexes": {"a": "keyword"}},
            {"indexes": {"a": "text"}},
            "{'a': 'keyword'} and is opened with {'a': 'text'}",
        ),
        ({}, {"tenant": "customer"}, "tenant=None and is opened with 'customer'"),
    ],
)
def test_a_mismatch_of_options_names_both_values(
    place: Place, made: dict[str, Any], asked: dict[str, Any], words: str
) -> None:
    place.open(**made)
    with pytest.raises(CollectionMismatch) as caught:
        reopened(place, **asked)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"indexes": {"year": "number"}}, ValueError, "'keyword', 'integer', .* or 'text', got 'number'"),
        ({"indexes": {"": "keyword"}}, ValueError, "'' is not the path of a metadata field"),
        ({"indexes": {1: "keyword"}}, TypeError, "indexes.* must be a valid string, got 1"),
        ({"tenant": ""}, ValueError, "'' is not the path of a metadata field"),
        ({"tenant": "who", "indexes": {"who": "text"}}, ValueError, "'who' is indexed as keyword"),
    ],
)
def test_an_invalid_index_is_refused(
    tmp_path: Path, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        Collection.open(tmp_path / "index", identity=MODEL, **options)
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize("metadata_key", ["metadata", ""])
def test_filters_work_on_indexed_fields(place: Place, metadata_key: str) -> None:
    collection = place.open(indexes=INDEXES, tenant="customer", metadata_key=metadata_key)
    collection.upsert([point("a", metadata=METADATA), point("b", metadata={"number": 8, "customer": "c2"})])
    for filter in (
        {"number": 7},
        {"number": {"gte": 6.5, "lt": 8}},
        {"author.name": "Ada"},
        {"share": 0.5},
        {"safe": True},
        {"seen": {"gt": "2024-04-30"}},
        {"title": {"text": "capital"}},
        {"customer": "c1"},
    ):
        assert [hit.id for hit in collection.search(vector(1), filter=filter)] == ["a"], filter
        assert collection.count(filter) == 1


def test_the_embedded_engine_creates_the_indexes(tmp_path: Path) -> None:
    index = tmp_path / "index"
    with Collection.open(index, identity=MODEL, indexes=INDEXES, tenant="customer", hybrid=True) as collection:
        collection.upsert([point("a", metadata=METADATA)])
    shard = edge.EdgeShard.load(str(index / "shard"))
    schema = shard.info().payload_schema
    shard.close()
    assert {path: str(found.data_type).split(".")[-1].lower() for path, found in schema.items()} == {
        **{f"metadata.{field}": kind for field, kind in INDEXES.items()},
        "metadata.customer": "keyword",
        "t1.document_id": "keyword",
    }
    assert schema["metadata.customer"].params.is_tenant
    assert all(found.points == 1 for found in schema.values())


@pytest.mark.server
def test_the_server_creates_the_indexes_and_completes_missing_ones(
    server_url: str, admin: QdrantClient, fresh_name: str
) -> None:
    options: dict[str, Any] = {"name": fresh_name, "identity": MODEL}
    Collection.open(server_url, **options, indexes=INDEXES, tenant="customer", hybrid=True).close()
    made = admin.get_collection(fresh_name)
    assert {path: found.data_type.value for path, found in made.payload_schema.items()} == {
        **{f"metadata.{field}": kind for field, kind in INDEXES.items()},
        "metadata.customer": "keyword",
        "t1.document_id": "keyword",
    }
    params = made.payload_schema["metadata.customer"].params
    assert isinstance(params, models.KeywordIndexParams)
    assert params.is_tenant
    assert (made.config.params.sparse_vectors or {})["bm25"].modifier == models.Modifier.IDF
    # as after an interrupted creation
    admin.delete_payload_index(fresh_name, "metadata.share", wait=True)
    Collection.open(server_url, **options).close()
    assert "metadata.share" in admin.get_collection(fresh_name).payload_schema


def test_an_index_of_the_first_format_can_be_opened(tmp_path: Path) -> None:
    index = tmp_path / "index"
    with Collection.open(index, identity=MODEL) as collection:
        collection.upsert(points(3))
    file = index / "t1.json"
    description = json.loads(file.read_text())
    assert description["format"] == 1
    for late in ("hybrid", "indexes", "tenant", "storage", "by_document"):
        del description[late]
    file.write_text(json.dumps(description))
    with Collection.open(index, identity=MODEL, hybrid=False, indexes={}) as collection:
        assert collection.count() == 3
        assert not collection.hybrid


def test_a_hybrid_index_has_a_format_that_earlier_versions_refuse(tmp_path: Path) -> None:
    Collection.open(tmp_path / "index", identity=MODEL, hybrid=True).close()
    assert json.loads((tmp_path / "index" / "t1.json").read_text())["format"] == 2
