"""The contract of a collection, and searches, on an index that a service has open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from t1_vectorstore import T1Embedder, T1VectorStore
from t1_vectorstore.collection import Collection
from tests.collection.conftest import Place
from tests.collection.points import MODEL
from tests.collection.test_contract import *  # noqa: F403 - the same tests, with the fixtures below
from tests.collection.test_creation import test_a_mismatch_of_options_names_both_values  # noqa: F401
from tests.collection.test_payload_keys import test_metadata_can_be_the_rest_of_the_payload  # noqa: F401
from tests.collection.test_search import *  # noqa: F403
from tests.service.live import live

pytestmark = pytest.mark.thorough

del test_each_point_of_another_package_is_a_document  # noqa: F821 - it needs a Qdrant server


@dataclass
class ServicePlace(Place):
    """An index that a T1 service has open; the first call of ``open`` creates it, in a folder, with its options."""

    service: ExitStack = field(default_factory=ExitStack)

    def open(self, **options: Any) -> Collection:
        if not self.location.startswith("t1+"):
            fake = T1Embedder.fake(MODEL.dimension)
            served = Collection.open(self.location, **{"identity": MODEL, **options})
            embedder = T1Embedder(fake._prompter, fake.backend, served.identity)
            store = self.service.enter_context(T1VectorStore(embedder, served))
            self.location = f"t1+{self.service.enter_context(live({served.name: store})).url}"
        return super().open(**options)

    def end(self) -> None:
        """Stop the service; the place is not opened again."""
        self.close()
        self.service.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A service, which starts when the collection is opened first."""
    made = ServicePlace("service", str(tmp_path / "served"))
    yield made
    made.end()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServicePlace]:
    """A service for all tests that need no options of a collection."""
    made = ServicePlace("service", str(tmp_path_factory.mktemp("shared") / "served"))
    yield made
    made.end()


@pytest.fixture
def collection(request: pytest.FixtureRequest, shared: ServicePlace) -> Collection:
    """An empty collection; a test that also opens its place has it there."""
    if "place" in request.fixturenames:
        place: Place = request.getfixturevalue("place")
        return place.open()
    if not shared.opened:
        shared.open()
    [opened] = shared.opened
    opened.delete([chunk.id for chunk in opened.scroll()])
    return opened
