"""The contract of a collection, on every engine."""

from __future__ import annotations

import math
import threading
import time

import numpy as np
import pytest

from t1_vectorstore.collection import Collection
from t1_vectorstore.collection.writer import BATCH_BYTES, BATCH_POINTS
from t1_vectorstore.errors import CollectionMismatch, StoreError
from t1_vectorstore.types import Chunk, Hit, ModelIdentity, Point
from tests.collection.conftest import Place
from tests.collection.points import DIMENSION, MODEL, point, points, vector

UUID = "0b5ee3a4-7f0e-4a52-9f6e-3f3f6f1c2d11"
STRANGE_IDS = [
    "plain",
    "0",
    "18446744073709551615",  # the largest point id
    "18446744073709551616",  # one more
    "007",
    "7",
    "-7",
    "+7",
    "٧",  # a digit, but not an ASCII one
    UUID,
    UUID.upper(),
    UUID.replace("-", ""),
    "{" + UUID + "}",
    "urn:uuid:" + UUID,
    " ",
    "\x00",
    "a\x00b",
    "日本語/\\?#%20",
    "😀" * 10,
    "x" * 10_000,
    "x" * 9_999 + "y",
]
RICH = {
    "integer": 2,
    "float": 2.0,
    "tiny": 5e-324,
    "large": 1.5e300,
    "most": 2**63 - 1,
    "least": -(2**63),
    "true": True,
    "none": None,
    "text": "a\x00b 😀 \u2028",
    "list": [1, "x", None, [], {"k": 1.5}],
    "empty": {},
    "": "a key without a name",
    "a b": {"c.d": 3},
}


def test_an_empty_collection_answers(collection: Collection) -> None:
    assert collection.count() == 0
    assert collection.search(vector(1)) == []
    assert collection.get(["a"]) == {}
    assert collection.content_hashes(["a"]) == {}
    assert collection.delete(["a"]) == 0
    assert list(collection.scroll()) == []
    assert collection.upsert([]) == 0


def test_a_stored_point_is_read_back_unchanged(collection: Collection) -> None:
    chunk = Chunk("d#1", "d", "the text", 10, 18, index=1, metadata=RICH)
    assert collection.upsert([Point(chunk, vector(1))]) == 1
    found = collection.get(["d#1"])["d#1"]
    assert found == chunk
    assert _types(found.metadata) == _types(RICH)
    assert found.content_hash == chunk.content_hash
    (hit,) = collection.search(vector(1))
    assert hit == Hit("d#1", hit.score, "the text", RICH, "d", 10, 18)
    assert hit.score == pytest.approx(1.0, abs=1e-6)
    assert hit.score <= 1.0
    (again,) = collection.scroll(with_vectors=True)
    assert again.chunk == chunk
    unit = vector(1) / np.linalg.norm(vector(1))
    assert again.vector.dtype == np.float32
    np.testing.assert_allclose(again.vector, unit, atol=1e-6)


def _types(value: object) -> object:
    if isinstance(value, dict):
        return {key: _types(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_types(item) for item in value]
    return type(value)


def test_every_string_is_a_different_id(collection: Collection) -> None:
    assert collection.upsert(point(chunk_id, f"text {n}") for n, chunk_id in enumerate(STRANGE_IDS)) == len(STRANGE_IDS)
    assert collection.count() == len(STRANGE_IDS)
    found = collection.get(STRANGE_IDS)
    assert {chunk_id: chunk.text for chunk_id, chunk in found.items()} == {
        chunk_id: f"text {n}" for n, chunk_id in enumerate(STRANGE_IDS)
    }
    assert {chunk.id for chunk in collection.scroll()} == set(STRANGE_IDS)
    assert {hit.id for hit in collection.search(vector(0), limit=100)} == set(STRANGE_IDS)
    for chunk_id in STRANGE_IDS:
        assert collection.delete([chunk_id]) == 1, chunk_id
    assert collection.count() == 0


def test_the_same_document_twice_is_one_point(collection: Collection) -> None:
    assert collection.upsert([point("a", "one"), point("a", "one")]) == 1
    assert collection.upsert([point("a", "one")]) == 1
    assert collection.count() == 1
    assert collection.upsert([point("a", "two", {"new": True})]) == 1
    assert collection.get(["a"])["a"].text == "two"
    assert collection.count({"new": True}) == 1
    assert collection.count() == 1


def test_a_new_vector_replaces_the_old_one(collection: Collection) -> None:
    collection.upsert([point("a", at=vector(1))])
    collection.upsert([point("a", at=-vector(1))])
    assert collection.search(vector(1))[0].score == pytest.approx(-1.0, abs=1e-6)


@pytest.mark.parametrize("count", [1, BATCH_POINTS, BATCH_POINTS + 1, 700])
def test_generators_are_stored_completely(collection: Collection, count: int) -> None:
    assert collection.upsert(points(count)) == count
    assert collection.count() == count
    assert sorted(chunk.metadata["number"] for chunk in collection.scroll()) == list(range(count))


def test_large_texts_are_split_into_batches_by_their_size(collection: Collection) -> None:
    text = "🙂" * (BATCH_BYTES // 4 // 3)  # a third of a batch, in bytes
    assert collection.upsert(point(f"large {n}", text) for n in range(8)) == 8
    assert collection.upsert(
        [point("a megabyte in one", "x" * 2**20), point("more than a batch", "x" * (BATCH_BYTES + 1))]
    )
    assert collection.count() == 10
    assert len(collection.get(["more than a batch"])["more than a batch"].text) == BATCH_BYTES + 1


def test_search_ranks_by_cosine(collection: Collection) -> None:
    collection.upsert(points(300))
    query = vector(1234)
    hits = collection.search(query, limit=300)
    expected = {
        f"doc {n}": float(query @ vector(n) / np.linalg.norm(query) / np.linalg.norm(vector(n))) for n in range(300)
    }
    assert [hit.id for hit in hits] == sorted(expected, key=lambda name: -expected[name])
    np.testing.assert_allclose([hit.score for hit in hits], sorted(expected.values(), reverse=True), atol=1e-5)
    assert collection.search(query * 1e-20, limit=5) == collection.search(query * 1e20, limit=5)
    assert [hit.id for hit in collection.search(list(map(float, query)), limit=5)] == [hit.id for hit in hits[:5]]


def test_the_length_of_a_vector_does_not_matter(collection: Collection) -> None:
    huge, small = np.full(DIMENSION, 3e38, dtype=np.float32), np.full(DIMENSION, 1e-44, dtype=np.float32)
    collection.upsert([point("huge", at=huge), point("small", at=small), point("double", at=np.full(DIMENSION, 1e300))])
    assert [hit.score for hit in collection.search(np.ones(DIMENSION))] == pytest.approx([1, 1, 1], abs=1e-6)


def test_limit_offset_and_threshold(collection: Collection) -> None:
    collection.upsert(points(50))
    every = collection.search(vector(3), limit=100)
    assert len(every) == 50
    assert collection.search(vector(3), limit=7, offset=5) == every[5:12]
    assert collection.search(vector(3), limit=7, offset=49) == every[49:]
    assert collection.search(vector(3), limit=7, offset=50) == []
    threshold = every[9].score
    assert collection.search(vector(3), limit=100, score_threshold=threshold) == every[:10]
    assert collection.search(vector(3), limit=5, score_threshold=threshold) == every[:5]
    assert collection.search(vector(3), limit=5, offset=8, score_threshold=threshold) == every[8:10]
    assert collection.search(vector(3), limit=100, score_threshold=-1.0) == every
    for bad in (1.1, -2, float("nan")):
        with pytest.raises(ValueError, match="score_threshold"):
            collection.search(vector(3), score_threshold=bad)


def test_equal_scores_come_in_the_order_of_ids(collection: Collection) -> None:
    collection.upsert(point(f"{n:02}", at=vector(1)) for n in (7, 3, 9, 1))
    assert [hit.id for hit in collection.search(vector(1))] == ["01", "03", "07", "09"]


def test_get_and_hashes_of_many_ids(collection: Collection) -> None:
    stored = {item.chunk.id: item.chunk for item in points(600)}
    collection.upsert(points(600))
    wanted = [f"doc {n}" for n in range(0, 1200, 2)]
    present = {chunk_id: chunk for chunk_id, chunk in stored.items() if chunk.metadata["even"]}
    assert collection.get(iter(wanted)) == present
    assert collection.content_hashes(wanted) == {name: chunk.content_hash for name, chunk in present.items()}
    for call in (collection.get, collection.content_hashes, collection.delete):
        with pytest.raises(TypeError, match="single str"):
            call("doc 1")


def test_delete_by_ids(collection: Collection) -> None:
    collection.upsert(points(600))
    assert collection.delete(f"doc {n}" for n in range(300, 900)) == 300
    assert collection.delete(["doc 1", "doc 1", "nobody"]) == 1
    assert collection.delete([]) == 0
    assert collection.count() == 299
    assert collection.get(["doc 1"]) == {}


def test_delete_by_filter(collection: Collection) -> None:
    collection.upsert(points(600))
    assert collection.delete(filter={"even": True, "number": {"lt": 580}}) == 290
    assert collection.count() == 310
    assert collection.delete(filter={"even": True, "number": {"lt": 580}}) == 0


def test_scroll_returns_all_points_also_during_deletions(collection: Collection) -> None:
    collection.upsert(points(500))
    seen = []
    for chunk in collection.scroll({"number": {"gte": 400}}, batch=16):
        seen.append(chunk.metadata["number"])
        collection.delete([chunk.id])
    assert sorted(seen) == list(range(400, 500))
    assert collection.count() == 400


def test_payload_keys_can_be_chosen_and_are_stored(place: Place) -> None:
    with pytest.raises(ValueError, match="must differ"):
        place.open(content_key="t1")
    with pytest.raises(ValueError, match="letters, digits"):
        place.open(metadata_key="a.b")
    collection = place.open(content_key="body", metadata_key="meta")
    collection.upsert(points(3))
    assert collection.count({"number": 2}) == 1
    assert collection.get(["doc 1"])["doc 1"].text == "text of doc 1"
    if place.engine != "memory":
        place.close()
        assert place.open().count({"number": 2}) == 1
        place.close()
        with pytest.raises(CollectionMismatch, match=r"content_key='body'.*'page_content'"):
            place.open(content_key="page_content")


def test_info(collection: Collection, place: Place) -> None:
    collection.upsert(points(5))
    info = collection.info()
    assert (info.engine, info.points, info.identity, info.location) == (place.engine, 5, MODEL, place.location)
    assert (info.disk_bytes or 0) > 0 if place.engine in ("embedded", "service") else info.disk_bytes is None
    assert collection.name == info.name
    assert place.engine in repr(collection)


def test_using_a_closed_collection_is_an_error(place: Place) -> None:
    with place.open() as collection:
        collection.upsert(points(3))
    collection.close()
    for call in (collection.count, lambda: collection.search(vector(1)), lambda: collection.upsert(points(1))):
        with pytest.raises(StoreError, match="closed"):
            call()


def test_an_existing_collection_is_opened_unchanged(place: Place) -> None:
    if place.engine == "memory":
        pytest.skip("a collection in memory cannot be opened again")
    place.open().upsert(points(5))
    place.close()
    for options in ({}, {"identity": None}, {"create": False}):
        collection = place.open(**options)
        assert collection.count() == 5
        assert collection.identity == MODEL
        place.close()


@pytest.mark.parametrize(
    "other",
    [
        ModelIdentity("other-model", "b" * 64, DIMENSION),
        ModelIdentity("test-model", "b" * 64, DIMENSION),
        ModelIdentity("other-model", "a" * 64, DIMENSION + 1),
    ],
)
def test_another_models_identity_is_refused(place: Place, other: ModelIdentity) -> None:
    if place.engine == "memory":
        pytest.skip("a collection in memory cannot be opened again")
    place.open().upsert(points(5))
    place.close()
    for options in ({}, {"adopt": True}):
        with pytest.raises(CollectionMismatch) as caught:
            place.open(identity=other, **options)
        for words in ("test-model", "a" * 16, other.model, other.fingerprint[:16], str(other.dimension)):
            assert words in str(caught.value)
    assert place.open().count() == 5


def test_the_same_model_under_another_name_is_the_same_model(place: Place) -> None:
    if place.engine == "memory":
        pytest.skip("a collection in memory cannot be opened again")
    place.open().close()
    assert place.open(identity=ModelIdentity("/a/copy", MODEL.fingerprint, DIMENSION)).identity == MODEL


def test_threads_can_write_and_read_at_the_same_time(collection: Collection) -> None:
    threads, rounds = 8, 3
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(rounds):
                first = (number * rounds + turn) * 20
                collection.upsert(points(20, first))
                collection.upsert([point("everyone's", "shared", {"turn": turn}, at=vector(7))])
                assert len(collection.get([f"doc {n}" for n in range(first, first + 20)])) == 20
                # During writes, a server's search may miss for a moment a point that a read has just returned.
                until = time.monotonic() + 60
                while (best := collection.search(vector(first), limit=3)[0].id) != f"doc {first}":
                    assert time.monotonic() < until, best
                assert collection.delete([f"doc {first}"]) == 1
        except BaseException as error:  # noqa: BLE001 - handed to the main thread
            failures.append(error)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures
    assert collection.count() == threads * rounds * 19 + 1
    found = {chunk.id for chunk in collection.scroll()}
    assert len(found) == threads * rounds * 19 + 1


def test_scores_are_at_most_1(collection: Collection) -> None:
    collection.upsert(point(str(n), at=vector(n) * 3) for n in range(50))
    for n in range(50):
        best = collection.search(vector(n), limit=1)[0]
        assert math.isclose(best.score, 1.0, abs_tol=1e-6)
        assert best.score <= 1.0
