"""Metadata in a payload: under a key, or as the rest of the payload."""

from __future__ import annotations

import pytest
from qdrant_client import QdrantClient, models

from t1_vectorstore.collection import Collection
from t1_vectorstore.errors import CollectionMismatch
from tests.collection.conftest import Place
from tests.collection.points import DIMENSION, MODEL, point, vector


def test_metadata_can_be_the_rest_of_the_payload(place: Place) -> None:
    collection = place.open(metadata_key="")
    metadata = {"country": "France", "author": {"name": "Ada"}, "metadata": 1}
    collection.upsert([point("a", "text", metadata), point("b", metadata={"country": "Norway"})])
    assert collection.get(["a"])["a"].metadata == metadata
    [hit] = collection.search(vector(0), filter={"country": "France", "author.name": "Ada"})
    assert (hit.id, hit.text, hit.metadata) == ("a", "text", metadata)
    assert collection.content_hashes(["a"]) == {"a": point("a", "text", metadata).chunk.content_hash}
    assert collection.delete(filter={"country": "Norway"}) == 1
    assert collection.count() == 1


@pytest.mark.parametrize("key", ["page_content", "t1"])
def test_metadata_must_not_use_the_payloads_own_keys(place: Place, key: str) -> None:
    collection = place.open(metadata_key="")
    with pytest.raises(ValueError, match=f"metadata under '{key}'"):
        collection.upsert([point("a", metadata={key: "mine"})])
    assert collection.count() == 0


def test_a_collection_stores_its_metadata_key(place: Place) -> None:
    if place.engine == "memory":
        pytest.skip("a collection in memory cannot be opened again")
    place.open(metadata_key="").upsert([point("a", metadata={"n": 1})])
    place.close()
    assert place.open().get(["a"])["a"].metadata == {"n": 1}
    place.close()
    with pytest.raises(CollectionMismatch, match="metadata_key=''"):
        place.open(metadata_key="metadata")


@pytest.mark.server
def test_the_caller_gives_the_payload_keys_of_an_adopted_collection(
    server_url: str, fresh_name: str, admin: QdrantClient
) -> None:
    admin.create_collection(
        fresh_name, vectors_config=models.VectorParams(size=DIMENSION, distance=models.Distance.COSINE)
    )
    admin.upsert(
        fresh_name, [models.PointStruct(id=1, vector=vector(1).tolist(), payload={"body": "x", "n": {"a": 1}})]
    )
    keys = {"content_key": "body", "metadata_key": "n"}
    with Collection.open(server_url, name=fresh_name, identity=MODEL, adopt=True, **keys) as collection:  # type: ignore[arg-type]
        [hit] = collection.search(vector(1), filter={"a": 1})
        assert (hit.text, hit.metadata) == ("x", {"a": 1})
