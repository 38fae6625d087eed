"""``reindex`` of a folder and of a server: nothing is lost, the old one answers meanwhile, and there is a way back."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
from t1_vectorstore.maintenance.swap import home_of
from t1_vectorstore.maintenance.sync import Pass
from t1_vectorstore.maintenance.verify import verify
from tests.collection.conftest import admin, server_url  # noqa: F401 - fixtures
from tests.maintenance.worlds import NEW, OLD, changed, documents, right

SOURCE = documents(300)


@dataclass
class Place:
    location: str
    name: str

    def open(self, **options: Any) -> Collection:
        return Collection.open(self.location, name=self.name, **options)


@pytest.fixture(params=["embedded", pytest.param("server", marks=pytest.mark.server)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """An index of the old model; on a server it is behind an alias already."""
    if request.param == "embedded":
        made = Place(str(tmp_path / "index"), "t1")
        with made.open(identity=OLD.identity) as collection:
            load(SOURCE, OLD, collection)
        yield made
        return
    client = request.getfixturevalue("admin")
    made = Place(request.getfixturevalue("server_url"), f"docs-{uuid.uuid4().hex}")
    with Collection.open(made.location, name=f"{made.name}-first", identity=OLD.identity) as collection:
        load(SOURCE, OLD, collection)
    with ServerAdmin(made.location) as server:
        server.point_alias(made.name, f"{made.name}-first")
        yield made
        for name in server.collections():
            if name.startswith(made.name):
                client.delete_collection(name)


def proven(place: Place, source: Any = SOURCE, model: Any = NEW) -> None:
    with place.open(identity=model.identity, create=False) as collection:
        found = verify(source, collection, Chunker(), embedder=model, vectors=50)
        assert found.equal, found


def test_an_index_moves_to_another_model_and_back(place: Place) -> None:
    with place.open() as old:
        done = reindex(old, NEW)
    assert done.moved
    assert (done.chunks, done.encoded, done.late) == (300, 300, ())
    proven(place)
    with pytest.raises(CollectionMismatch):
        place.open(identity=OLD.identity)
    home = home_of(place.location, place.name)
    home.roll_back()
    proven(place, model=OLD)
    home.roll_back()
    proven(place)
    assert len(home.drop_others()) == 1
    assert home.drop_others() == []
    home.close()
    proven(place)
    with pytest.raises(StoreError, match=r"no previous build|not at .* any more"):
        home_of(place.location, place.name).roll_back()


def test_what_is_as_it_should_be_is_not_moved(place: Place) -> None:
    with place.open() as old:
        assert not reindex(old, OLD).moved
        assert reindex(old, NEW).moved
    with place.open() as old:
        assert not reindex(old, NEW).moved
        assert old.count() == 300


def test_other_settings_copy_the_vectors(place: Place) -> None:
    with place.open() as old:
        done = reindex(old, OLD, hybrid=True, indexes={"n": "integer"})
    assert (done.moved, done.encoded, done.chunks) == (True, 0, 300)
    proven(place, model=OLD)
    with place.open(hybrid=True) as new:
        vector = OLD.embed_documents([SOURCE[7].text]).vectors[0]
        assert new.search(vector, text=SOURCE[7].text, filter={"n": {"lte": 7}}, limit=1)[0].id == "doc 7"


def test_searches_are_answered_until_the_step_and_writes_are_caught_up_with(place: Place) -> None:
    expected = {document.id: document for document in SOURCE}
    with place.open() as old:
        stop, answers, errors = threading.Event(), [0], []

        def search() -> None:
            while not stop.is_set():
                try:
                    hit = old.search(OLD.embed_documents([SOURCE[5].text]).vectors[0], limit=1)[0]
                except StoreError as error:  # closed: the step was taken
                    if "closed" not in str(error):
                        errors.append(error)
                    return
                answers[0] += hit.id == "doc 5"

        passes = 0

        def write(done: Pass) -> None:
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
    proven(place, list(expected.values()))


def test_an_index_that_never_rests_is_left_as_it_is(place: Place) -> None:
    fresh: Callable[[], int] = iter(range(10_000, 20_000)).__next__
    with place.open() as old:
        with pytest.raises(StoreError, match="faster than"):
            reindex(old, NEW, on_progress=lambda _: load(documents(1, fresh()), OLD, old) and None)
        assert old.count() > 300
    with place.open(identity=OLD.identity) as old:
        assert reindex(old, NEW).encoded < 50


def test_damage_is_not_carried_over(place: Place) -> None:
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


def test_vectors_are_the_new_models(place: Place) -> None:
    with place.open() as old:
        reindex(old, NEW)
    with place.open() as new:
        assert new.identity == NEW.identity
        assert all(right(point.vector, point.chunk.text, NEW) for point in new.scroll(with_vectors=True))


def test_an_index_in_memory_stays_where_it_is() -> None:
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
    proven(Place(server_url, f"{name}-docs"), SOURCE[:50])
    with Collection.open(server_url, name=name) as old, pytest.raises(ValueError, match="stands for"):
        reindex(old, OLD, hybrid=True, alias=f"{name}-docs")
    home = home_of(server_url, f"{name}-docs")
    assert home.roll_back() == name
    home.roll_back()
    assert home.drop_others() == [name]
    home.close()
    for left in ServerAdmin(server_url).collections():
        if left.startswith(name):
            admin.delete_collection(left)


@pytest.mark.server
def test_whoever_has_an_alias_open_goes_on_with_what_he_opened(place: Place) -> None:
    if not place.location.startswith("http"):
        pytest.skip("a folder is closed")
    with place.open() as old, place.open() as program:
        reindex(old, NEW)
        assert program.search(OLD.embed_documents([SOURCE[5].text]).vectors[0], limit=1)[0].id == "doc 5"
        load([changed(SOURCE[5])], OLD, program)
        proven(place)
        home_of(place.location, place.name).drop_others()
        with pytest.raises(CollectionNotFound):
            program.count()


@pytest.mark.server
def test_a_write_in_the_last_moment_is_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    if not place.location.startswith("http"):
        pytest.skip("nobody can write to a folder in that moment")
    point_alias = ServerAdmin.point_alias
    with place.open() as old, place.open() as program:

        def late(self: ServerAdmin, alias: str, collection: str) -> None:
            load([changed(SOURCE[9])], OLD, program)
            point_alias(self, alias, collection)

        monkeypatch.setattr(ServerAdmin, "point_alias", late)
        assert reindex(old, NEW).late == ("doc 9",)


@pytest.mark.server
def test_somebody_elses_collection_is_not_taken_for_a_build(place: Place) -> None:
    if not place.location.startswith("http"):
        pytest.skip("a folder is the index's own")
    with place.open() as old:
        build = reindex(old, NEW).build
    home = home_of(place.location, place.name)
    home.roll_back()
    home.drop_others()
    with Collection.open(place.location, name=f"{place.name}__{build}", identity=NEW.identity) as mine:
        load(documents(5), NEW, mine)
    with place.open() as old, pytest.raises(StoreError, match="not made by a reindex"):
        reindex(old, NEW)
