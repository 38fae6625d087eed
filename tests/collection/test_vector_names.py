"""Names of the dense and the sparse vector: of new collections, and found out of existing ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import QdrantClient, models

from t1_vectorstore.collection import Collection
from t1_vectorstore.errors import CollectionMismatch
from tests.collection.conftest import Place
from tests.collection.points import DIMENSION, MODEL, point, points, vector

NAMES: dict[str, Any] = {"vector_name": "dense", "sparse_vector_name": "words", "hybrid": True}
DENSE = models.VectorParams(size=DIMENSION, distance=models.Distance.COSINE)


def test_a_new_collection_can_have_named_vectors(place: Place) -> None:
    with place.open(**NAMES) as collection:
        assert collection.upsert(points(20)) == 20
        assert [hit.id for hit in collection.search(vector(7), limit=1)] == ["doc 7"]
        assert collection.upsert([point("rare", "a text about xylophones", at=vector(99))]) == 1
        hits = collection.search(vector(7), text="xylophones", limit=2)
        assert {hit.id for hit in hits} == {"doc 7", "rare"}
        only_words = collection.search(vector(7), text="xylophones", vector_weight=0, limit=1)
        assert [hit.id for hit in only_words] == ["rare"]
        assert [hit.id for hit in collection.search(vector(7), diversity=0.0, limit=1)] == ["doc 7"]
        (found,) = [each for each in collection.scroll(with_vectors=True) if each.chunk.id == "doc 3"]
        expected = vector(3) / (vector(3) @ vector(3)) ** 0.5
        assert abs(found.vector - expected).max() < 1e-5
        assert collection.delete(["doc 7"]) == 1


def test_an_unnamed_sparse_vector_beside_a_named_dense_one(place: Place) -> None:
    with place.open(vector_name="dense") as collection:
        collection.upsert(points(3))
        assert [hit.id for hit in collection.search(vector(1), limit=1)] == ["doc 1"]
        assert collection.schema.sparse_vector_name == "bm25"


def test_the_names_are_recorded_and_compared(place: Place) -> None:
    if place.engine == "memory":
        pytest.skip("a collection in memory cannot be opened again")
    place.open(**NAMES).close()
    with place.open() as collection:
        assert (collection.schema.vector_name, collection.schema.sparse_vector_name) == ("dense", "words")
    for option in ("vector_name", "sparse_vector_name"):
        with pytest.raises(CollectionMismatch, match=f"{option}='{NAMES[option]}' and is opened with 'other'"):
            place.open(**{option: "other"})


def test_earlier_versions_refuse_named_vectors_and_read_all_others(tmp_path: Path) -> None:
    for name, options, version in (("named", NAMES, 4), ("plain", {}, 1), ("hybrid", {"hybrid": True}, 2)):
        Collection.open(tmp_path / name, identity=MODEL, **options).close()
        assert json.loads((tmp_path / name / "t1.json").read_text())["format"] == version


def test_a_description_without_names_has_the_names_of_earlier_versions(index: Path) -> None:
    file = index / "t1.json"
    record = json.loads(file.read_text())
    del record["vector_name"], record["sparse_vector_name"]
    file.write_text(json.dumps(record))
    with Collection.open(index, identity=MODEL) as collection:
        assert [hit.id for hit in collection.search(vector(3), limit=1)] == ["doc 3"]


def test_an_optimised_index_keeps_its_names(tmp_path: Path) -> None:
    with Collection.open(tmp_path / "index", identity=MODEL, **NAMES) as collection:
        collection.upsert(points(5))
        collection.optimize()
    assert json.loads((tmp_path / "index" / "t1.json").read_text())["format"] == 4
    with Collection.open(tmp_path / "index", identity=MODEL) as collection:
        assert [hit.id for hit in collection.search(vector(3), limit=1)] == ["doc 3"]
        assert len(collection.search(vector(3), text="doc", vector_weight=0)) == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sparse_vector_name": "words"}, "hybrid=True"),
        ({"sparse_vector_name": "x", "vector_name": "x", "hybrid": True}, "must differ"),
    ],
)
def test_names_that_no_collection_can_have_are_refused(tmp_path: Path, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Collection.open(tmp_path / "index", identity=MODEL, **options)
    assert not (tmp_path / "index" / "t1.json").exists()


def adopted(client: Any, **options: Any) -> Collection:
    return Collection.open(client, name="theirs", identity=MODEL, adopt=True, **options)


def test_the_only_dense_vector_of_another_packages_collection_is_found() -> None:
    client = QdrantClient(":memory:")
    client.create_collection("theirs", vectors_config={"text-dense": DENSE})
    with adopted(client) as collection:
        assert collection.schema.vector_name == "text-dense"
        assert collection.upsert(points(3)) == 3
        assert [hit.id for hit in collection.search(vector(2), limit=1)] == ["doc 2"]
    (found, *_), _ = client.scroll("theirs", with_vectors=True)
    assert isinstance(found.vector, dict)
    assert list(found.vector) == ["text-dense"]


def test_an_unknown_or_ambiguous_name_is_refused_with_the_names_that_exist() -> None:
    client = QdrantClient(":memory:")
    tokens = DENSE.model_copy(
        update={"multivector_config": models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)}
    )
    client.create_collection("theirs", vectors_config={"title": DENSE, "body": DENSE, "tokens": tokens})
    with pytest.raises(CollectionMismatch, match="dense vectors 'body', 'title', and give one of them as vector_name="):
        adopted(client)
    for wrong in ("tokens", "other", ""):
        with pytest.raises(CollectionMismatch, match=f"'body', 'title', and none is named '{wrong}'"):
            adopted(client, vector_name=wrong)
    with adopted(client, vector_name="body") as collection:
        collection.upsert(points(3))
        assert [hit.id for hit in collection.search(vector(2), limit=1)] == ["doc 2"]


def test_a_point_without_the_dense_vector_can_be_read() -> None:
    client = QdrantClient(":memory:")
    client.create_collection("theirs", vectors_config={"title": DENSE, "body": DENSE})
    lonely = models.PointStruct(id=7, vector={"title": vector(0).tolist()}, payload={"page_content": "seven"})
    client.upsert("theirs", [lonely])
    with adopted(client, vector_name="body") as collection:
        assert collection.get(["7"])["7"].text == "seven"
        assert list(collection.scroll(with_vectors=True)) == []
        assert collection.search(vector(0)) == []
