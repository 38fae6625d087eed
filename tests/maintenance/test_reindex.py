"""``reindex`` on a folder and a server: nothing is lost, searches are answered, and it can be rolled back."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import QdrantClient

from t1_vectorstore.collection import Collection
from t1_vectorstore.engines import Row
from t1_vectorstore.engines.server.admin import ServerAdmin
from t1_vectorstore.errors import CollectionMismatch, CollectionNotFound, StoreError
from t1_vectorstore.indexing import load
from t1_vectorstore.indexing.chunking import Chunker
from t1_vectorstore.maintenance.reindex import reindex
from t1_vectorstore.maintenance.swap import swap_target
from t1_vectorstore.maintenance.sync import SyncPass, sync_once
from t1_vectorstore.maintenance.verify import verify
from tests.collection.conftest import admin, server_url  # noqa: F401 - fixtures
from tests.maintenance.models import NEW, OLD, changed, documents, is_vector_of
from tests.unusable import MARK, overflowing_embedder

SOURCE = documents(300)


@dataclass
class Location:
    location: str
    name: str

    def open(self, **options: Any) -> Collection:
        return Collection.open(self.location, name=self.name, **options)


@pytest.fixture(params=["embedded", pytest.param("server", marks=pytest.mark.server)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Location]:
    """Return an index of the old model; on a server, behind an alias."""
    if request.param == "embedded":
        made = Location(str(tmp_path / "index"), "t1")
        with made.open(identity=OLD.identity) as collection:
            load(SOURCE, OLD, collection)
        yield made
        return
    client = request.getfixturevalue("admin")
    made = Location(request.getfixturevalue("server_url"), f"docs-{uuid.uuid4().hex}")
    with Collection.open(made.location, name=f"{made.name}-first", identity=OLD.identity) as collection:
        load(SOURCE, OLD, collection)
    with ServerAdmin(made.location) as server:
        server.point_alias(made.name, f"{made.name}-first")
        yield made
        for name in server.collections():
            if name.startswith(made.name):
                client.delete_collection(name)


def assert_equal(place: Location, source: Any = SOURCE, model: Any = NEW) -> None:
    with place.open(identity=model.identity, create=False) as collection:
        found = verify(source, collection, Chunker(), embedder=model, vectors=50)
        assert found.equal, found


def test_an_index_moves_to_another_model_and_back(place: Location) -> None:
    with place.open() as old:
        done = reindex(old, NEW)
    assert done.moved
    assert (done.chunks, done.encoded, done.late) == (300, 300, ())
    assert_equal(place)
    with pytest.raises(CollectionMismatch):
        place.open(identity=OLD.identity)
    target = swap_target(place.location, place.name)
    target.roll_back()
    assert_equal(place, model=OLD)
    target.roll_back()
    assert_equal(place)
    assert len(target.drop_others()) == 1
    assert target.drop_others() == []
    target.close()
    assert_equal(place)
    with place.open(create=False, identity=NEW.identity) as kept:
        assert not kept.info().previous_build
    with pytest.raises(StoreError, match=r"no previous build|no longer exists at"):
        swap_target(place.location, place.name).roll_back()


def test_an_optimised_build_can_be_used_again(tmp_path: Path) -> None:
    """Optimising moves the build's files, and the rolled back index must find them."""
    place = Location(str(tmp_path / "index"), "t1")
    with place.open(identity=OLD.identity) as collection:
        load(SOURCE, OLD, collection)
    with place.open() as old:
        reindex(old, NEW)
    with place.open() as new:
        new.optimize()
    swap_target(place.location, place.name).roll_back()
    with place.open() as old:
        assert reindex(old, NEW).moved
    assert_equal(place)


def test_an_index_with_the_wanted_model_is_not_moved(place: Location) -> None:
    with place.open() as old:
        assert not reindex(old, OLD).moved
        assert reindex(old, NEW).moved
    with place.open() as old:
        assert not reindex(old, NEW).moved
        assert old.count() == 300


def test_the_vectors_are_copied_when_only_settings_change(place: Location) -> None:
    with place.open() as old:
        done = reindex(old, OLD, hybrid=True, indexes={"n": "integer"})
    assert (done.moved, done.encoded, done.chunks) == (True, 0, 300)
    assert_equal(place, model=OLD)
    with place.open(hybrid=True) as new:
        vector = OLD.embed_documents([SOURCE[7].text]).vectors[0]
        assert new.search(vector, text=SOURCE[7].text, filter={"n": {"lte": 7}}, limit=1)[0].id == "doc 7"


@pytest.mark.thorough
def test_searches_are_answered_and_writes_are_repeated_during_a_reindex(place: Location) -> None:
    expected = {document.id: document for document in SOURCE}
    with place.open() as old:
        stop, answers, errors = threading.Event(), [0], []

        def search() -> None:
            while not stop.is_set():
                try:
                    hit = old.search(OLD.embed_documents([SOURCE[5].text]).vectors[0], limit=1)[0]
                except StoreError as error:  # closed by the switch
                    if "closed" not in str(error):
                        errors.append(error)
                    return
                answers[0] += hit.id == "doc 5"

        passes = 0

        def write(done: SyncPass) -> None:
            nonlocal passes
            passes += 1
            if passes == 2:
                fresh, other = documents(40, first=1000), changed(SOURCE[3])
                load([*fresh, other], OLD, old)
                old.delete_documents(["doc 1", "doc 299"])
                expected.update({document.id: document for document in [*fresh, other]})
                del expected["doc 1"], expected["doc 299"]

        searcher = threading.Thread(target=search)
        searcher.start()
        try:
            done = reindex(old, NEW, on_progress=write)
        finally:
            stop.set()
            searcher.join()
    assert not errors
    assert answers[0] > 0
    assert done.chunks == len(expected) == 338
    assert_equal(place, list(expected.values()))


@pytest.mark.thorough
def test_an_index_that_is_written_to_all_the_time_is_left_unchanged(place: Location) -> None:
    fresh: Callable[[], int] = iter(range(10_000, 20_000)).__next__
    with place.open() as old:
        with pytest.raises(StoreError, match="faster than"):
            reindex(old, NEW, on_progress=lambda _: load(documents(1, fresh()), OLD, old) and None)
        assert old.count() > 300
    with place.open(identity=OLD.identity) as old:
        assert reindex(old, NEW).encoded < 50


def test_damaged_or_foreign_points_are_not_copied(place: Location) -> None:
    with place.open() as old:
        row = next(old.scan(batch=1, vectors=True))
        old._engine.write([Row(row.id, {**row.payload, "page_content": "damaged"}, row.vector)])
        with pytest.raises(StoreError, match="is damaged"):
            reindex(old, NEW)
    with place.open(identity=OLD.identity) as old:
        row = next(old.scan(batch=1, vectors=True))
        old._engine.write([Row(row.id, {"page_content": "x", "metadata": {}, "mine": 1}, row.vector)])
        with pytest.raises(StoreError, match="'mine' in its payload"):
            reindex(old, NEW)


def test_the_vectors_are_the_new_models(place: Location) -> None:
    with place.open() as old:
        reindex(old, NEW)
    with place.open() as new:
        assert new.identity == NEW.identity
        assert all(is_vector_of(point.vector, point.chunk.text, NEW) for point in new.scroll(with_vectors=True))


def test_an_index_in_memory_is_refused() -> None:
    with Collection.open(":memory:", identity=OLD.identity) as old, pytest.raises(ValueError, match="':memory:'"):
        reindex(old, NEW)


def test_a_folder_has_no_alias(tmp_path: Path) -> None:
    with Collection.open(tmp_path, identity=OLD.identity) as old, pytest.raises(ValueError, match="only a server"):
        reindex(old, NEW, alias="docs")


@pytest.mark.server
def test_a_plain_collection_gets_an_alias(server_url: str, admin: QdrantClient) -> None:  # noqa: F811
    name = f"plain-{uuid.uuid4().hex}"
    with Collection.open(server_url, name=name, identity=OLD.identity) as old:
        load(SOURCE[:50], OLD, old)
        with pytest.raises(ValueError, match="alias cannot have the name"):
            reindex(old, NEW)
        done = reindex(old, NEW, alias=f"{name}-docs")
        assert (done.moved, done.name) == (True, f"{name}-docs")
        assert old.count() == 50
    assert_equal(Location(server_url, f"{name}-docs"), SOURCE[:50])
    with Collection.open(server_url, name=name) as old, pytest.raises(ValueError, match="points to"):
        reindex(old, OLD, hybrid=True, alias=f"{name}-docs")
    target = swap_target(server_url, f"{name}-docs")
    assert target.roll_back() == name
    target.roll_back()
    assert target.drop_others() == [name]
    target.close()
    for created in ServerAdmin(server_url).collections():
        if created.startswith(name):
            admin.delete_collection(created)


@pytest.mark.server
def test_open_connections_keep_using_the_old_collection(place: Location) -> None:
    if not place.location.startswith("http"):
        pytest.skip("a folder is closed by the switch")
    with place.open() as old, place.open() as program:
        reindex(old, NEW)
        assert program.search(OLD.embed_documents([SOURCE[5].text]).vectors[0], limit=1)[0].id == "doc 5"
        load([changed(SOURCE[5])], OLD, program)
        assert_equal(place)
        swap_target(place.location, place.name).drop_others()
        with pytest.raises(CollectionNotFound):
            program.count()


@pytest.mark.server
def test_a_write_during_the_switch_is_reported(place: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    if not place.location.startswith("http"):
        pytest.skip("a folder has no other writers during the switch")
    point_alias = ServerAdmin.point_alias
    with place.open() as old, place.open() as program:

        def late(self: ServerAdmin, alias: str, collection: str) -> None:
            load([changed(SOURCE[9])], OLD, program)
            point_alias(self, alias, collection)

        monkeypatch.setattr(ServerAdmin, "point_alias", late)
        assert reindex(old, NEW).late == ("doc 9",)


@pytest.mark.server
def test_a_foreign_collection_is_not_used_as_a_build(place: Location) -> None:
    if not place.location.startswith("http"):
        pytest.skip("a folder has no foreign collections")
    with place.open() as old:
        build = reindex(old, NEW).build
    target = swap_target(place.location, place.name)
    target.roll_back()
    target.drop_others()
    with Collection.open(place.location, name=f"{place.name}__{build}", identity=NEW.identity) as mine:
        load(documents(5), NEW, mine)
    with place.open() as old, pytest.raises(StoreError, match="not made by a reindex"):
        reindex(old, NEW)


def test_chunks_that_the_new_model_cannot_embed_stop_the_switch_or_are_left_out(
    place: Location, tmp_path: Path
) -> None:
    """All others are encoded; a rerun then leaves out, and writes to a file, what has no vector."""
    marked = [replace(SOURCE[number], text=SOURCE[number].text + MARK) for number in (5, 250)]
    with place.open() as old:
        load(marked, OLD, old)
        new = overflowing_embedder(24)
        with pytest.raises(StoreError, match=r"cannot embed 2 chunks, such as 'doc \d+': .*leave_out=FILE"):
            reindex(old, new)
        assert old.count() == 300
        done = reindex(old, new, leave_out=tmp_path / "left.jsonl")
    assert (done.moved, done.chunks, done.encoded, done.late) == (True, 298, 0, ())
    assert sorted(done.left_out) == ["doc 250", "doc 5"]
    letters = [json.loads(line) for line in (tmp_path / "left.jsonl").read_text().splitlines()]
    assert {letter["id"]: letter["text"] for letter in letters} == {document.id: document.text for document in marked}
    assert_equal(place, [document for document in SOURCE if document.id not in done.left_out])


def test_all_texts_without_a_vector_are_left_out_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embedder, sizes = overflowing_embedder(24), []
    embed = embedder.embed_documents
    monkeypatch.setattr(embedder, "embed_documents", lambda texts, **kw: sizes.append(len(texts)) or embed(texts, **kw))
    with (
        Collection.open(tmp_path / "old", identity=OLD.identity) as old,
        Collection.open(tmp_path / "new", identity=embedder.identity) as new,
    ):
        load([replace(d, text=d.text + MARK) if d.id in ("doc 5", "doc 90") else d for d in SOURCE[:100]], OLD, old)
        done = sync_once(old, new, embedder)
        assert (sizes, done.written, sorted(done.refused)) == ([100, 98], 98, ["doc 5", "doc 90"])
        assert all("no finite vector" in reason for _, reason in done.refused.values())
