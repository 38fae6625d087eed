"""Wrong, partial and foreign answers of a server, given by a stub."""

from __future__ import annotations

from typing import Any

import pytest

from t1_vectorstore.collection import Collection
from t1_vectorstore.engines.ids import point_id
from t1_vectorstore.errors import CollectionMismatch, StoreError, WriteRefused
from t1_vectorstore.options import Retry
from t1_vectorstore.types import Chunk, Point
from tests.collection.points import MODEL, points, vector
from tests.collection.stub_server import VERSION, Stub, described, opened


def test_a_refused_point_is_named(stub: Stub, retry: Retry) -> None:
    """The sixth of eight points: the server accepts the parts of the batch that do not contain it."""
    done = {"operation_id": 1, "status": "completed"}
    with opened(stub, retry) as collection:
        stub.result([])
        stub.error(422, "payload too large")
        stub.result(done)  # 0 to 3
        stub.error(422, "payload too large")  # 4 and 5
        stub.result(done)  # 4
        stub.error(422, "payload too large")  # 5
        with pytest.raises(WriteRefused, match=r"payload too large.*'doc 5'") as caught:
            collection.upsert(points(8))
        assert caught.value.ids == ["doc 5"]
        stub.answers.clear()
        stub.result([])
        stub.error(400, "shard key not specified")
        with pytest.raises(WriteRefused, match="shard key not specified") as caught:
            collection.upsert(points(8))
        assert caught.value.ids == []


def test_a_write_that_is_only_acknowledged_is_an_error(stub: Stub, retry: Retry) -> None:
    with opened(stub, retry) as collection:
        stub.result([])
        stub.result({"operation_id": 1, "status": "acknowledged"})
        with pytest.raises(StoreError, match="acknowledged"):
            collection.upsert(points(1))


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, b"<html>It works!</html>"), (200, {"hello": "world"}), (200, b""), (301, b""), (404, b"nginx")],
)
def test_a_server_other_than_qdrant_is_an_error(stub: Stub, retry: Retry, status: int, body: Any) -> None:
    stub.answer(status, body)
    with pytest.raises(StoreError, match=stub.url):
        Collection.open(stub.url, identity=MODEL, retry=retry)
    assert not any(asked.startswith(("PUT", "DELETE")) for asked in stub.asked)


def test_a_collection_is_not_created_on_an_older_server(stub: Stub, retry: Retry) -> None:
    stub.result({"aliases": []})
    stub.error(404, "Not found: Collection `t1` doesn't exist!")
    stub.answer(200, VERSION | {"version": "1.15.4"})
    with pytest.raises(StoreError, match=r"Qdrant 1\.15\.4.*1\.16"):
        Collection.open(stub.url, identity=MODEL, retry=retry)
    assert not any(asked.startswith("PUT") for asked in stub.asked)


def test_a_collection_created_by_another_process_meanwhile_is_opened(stub: Stub, retry: Retry) -> None:
    stub.result({"aliases": []})
    stub.error(404, "Not found")
    stub.answer(200, VERSION)
    stub.error(409, "Collection `t1` already exists!")
    stub.result(described())
    with Collection.open(stub.url, identity=MODEL, retry=retry, grpc_port=1) as collection:
        assert collection.identity == MODEL
    assert stub.asked[3].startswith("PUT")


def test_a_collection_with_other_vectors_is_a_mismatch(stub: Stub, retry: Retry) -> None:
    for vectors, words in (
        ({"text": {"size": 8, "distance": "Cosine"}}, "has the dense vectors 'text', and none is named ''"),
        ({}, "has no dense vector"),
        ({"size": 8, "distance": "Dot"}, "dot"),
        ({"size": 9, "distance": "Cosine"}, "9 dimensions"),
    ):
        stub.answers.clear()
        stub.result(described(vectors=vectors))
        with pytest.raises(CollectionMismatch, match=words):
            Collection.open(stub.url, identity=MODEL, retry=retry)


@pytest.mark.parametrize("metadata", [{"t1": {}}, {"t1": {"format": "x"}}, {"t1": "x"}, {"t1": ["x"]}])
def test_a_damaged_description_is_named(stub: Stub, retry: Retry, metadata: dict[str, Any]) -> None:
    stub.result(described(metadata=metadata))
    with pytest.raises(StoreError, match="the metadata of the collection 't1'"):
        Collection.open(stub.url, identity=MODEL, retry=retry)


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
def test_the_api_key_is_sent(stub: Stub, retry: Retry) -> None:
    with opened(stub, retry, api_key="secret"):
        assert set(stub.api_keys) == {"secret"}


def test_the_first_of_two_failing_batches_is_reported(stub: Stub, retry: Retry) -> None:
    """The second batch is being written while the third one is prepared, and both are invalid."""
    with opened(stub, retry) as collection:
        first = list(points(256))
        stub.result([])
        stub.result({"operation_id": 1, "status": "completed"})
        proof = [
            {"id": point_id(p.chunk.id), "payload": {"t1": {"id": p.chunk.id, "content_hash": p.chunk.content_hash}}}
            for p in first
        ]
        stub.result(proof)
        stub.result([])
        stub.error(400, "because of this")
        bad = Point(Chunk("bad", "bad", "text", 0, 4), vector(1, dimension=3))
        with pytest.raises(StoreError, match=r"because of this.*256 points were stored before") as caught:
            collection.upsert([*first, *points(257, first=256), bad])
        assert caught.value.stored == 256  # type: ignore[attr-defined]


def test_a_batch_over_a_limit_of_the_server_is_written_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of its points is at fault, as with a proxy that limits the size of a request."""
    with Collection.open(":memory:", identity=MODEL) as collection:
        write = collection._engine.write

        def limited(rows: Any) -> None:
            if len(rows) > 3:
                raise WriteRefused("413: too large")
            write(rows)

        monkeypatch.setattr(collection._engine, "write", limited)
        assert collection.upsert(points(20)) == collection.count() == 20
