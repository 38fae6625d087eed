"""After any sequence of loads, upserts, deletions and crashes a collection holds what a dict would, on every engine."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import TypeAlias

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from t1_vectorstore.collection import Collection
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.indexing import LoadProgress, load
from t1_vectorstore.indexing.chunking import Chunker
from t1_vectorstore.types import Chunk, Document, Point
from tests.collection.conftest import CLOSED_PORT

EMBEDDER = T1Embedder.fake(8)
CHUNKER = Chunker(40)
NAMES = [f"document {number}" for number in range(6)]
KINDS = ["ash", "birch"]

names = st.sampled_from(NAMES)
documents = st.builds(
    lambda name, word, times, kind: Document(" ".join([word] * times), name, {"kind": kind}),
    names,
    st.sampled_from(["cedar", "elm", "fir"]),
    st.sampled_from([1, 9, 30]),  # one, two and five chunks
    st.sampled_from(KINDS),
)
sources = st.lists(documents, unique_by=lambda document: document.id, min_size=1, max_size=len(NAMES))

Reopen: TypeAlias = Callable[[], Collection]


class Interrupted(BaseException):
    """Raised to interrupt a load."""


class AnySequence(RuleBasedStateMachine):
    """A collection and its model, the expected chunks by id.

    ``reopen`` returns the collection as it is after a crash; without it there are no crashes.
    """

    def __init__(self, collection: Collection, reopen: Reopen | None) -> None:
        super().__init__()
        self.collection = collection
        self.reopen = reopen
        self.model: dict[str, Chunk] = {}

    @rule(source=sources, prune=st.booleans())
    def load(self, source: list[Document], prune: bool) -> None:
        report = load(source, EMBEDDER, self.collection, chunker=CHUNKER, batch_chunks=3, prune=prune)
        assert not report.failures
        self._expect(source, prune)

    @rule(source=sources, prune=st.booleans(), moment=st.integers(1, 12))
    def load_after_one_that_was_interrupted(self, source: list[Document], prune: bool, moment: int) -> None:
        told = 0

        def interrupt(progress: LoadProgress) -> None:
            nonlocal told
            told += 1
            if told == moment:
                raise Interrupted

        try:
            load(source, EMBEDDER, self.collection, chunker=CHUNKER, batch_chunks=1, prune=prune, on_progress=interrupt)
        except Interrupted:
            self._crash()
        self.load(source, prune)

    @rule(document=documents)
    def upsert(self, document: Document) -> None:
        name, text = f"point of {document.id}", document.text
        chunk = Chunk(name, name, text, 0, len(text), metadata=document.metadata)
        assert self.collection.upsert([Point(chunk, EMBEDDER.embed_documents([text]).vectors[0])]) == 1
        self.model[name] = chunk

    @rule(ids=st.lists(names, max_size=3))
    def delete(self, ids: list[str]) -> None:
        chunks = [*ids, *(f"{name}#chunk-1" for name in ids), *(f"point of {name}" for name in ids)]
        assert self.collection.delete(chunks) == len(self.model.keys() & set(chunks))
        self._keep(lambda chunk: chunk.id not in chunks)

    @rule(ids=st.lists(names, max_size=3))
    def delete_documents(self, ids: list[str]) -> None:
        self.collection.delete_documents(ids)
        self._keep(lambda chunk: chunk.document_id not in ids)

    @rule(kind=st.sampled_from(KINDS))
    def delete_by_filter(self, kind: str) -> None:
        self.collection.delete(filter={"kind": kind})
        self._keep(lambda chunk: chunk.metadata["kind"] != kind)

    @precondition(lambda self: self.reopen is not None)
    @rule()
    def crash(self) -> None:
        self._crash()

    @invariant()
    def the_collection_is_what_the_model_says(self) -> None:
        points = {point.chunk.id: point for point in self.collection.scroll(batch=4, with_vectors=True)}
        assert {name: point.chunk for name, point in points.items()} == self.model
        assert self.collection.count() == len(self.model)
        if points:
            expected = EMBEDDER.embed_documents([point.chunk.text for point in points.values()]).vectors
            np.testing.assert_allclose([point.vector for point in points.values()], expected, atol=1e-6)

    def teardown(self) -> None:
        self.collection.close()

    def _expect(self, source: list[Document], prune: bool) -> None:
        present = {document.id for document in source}
        self._keep(lambda chunk: not prune and chunk.document_id not in present)
        self.model |= {chunk.id: chunk for document in source for chunk in CHUNKER.split(document)}

    def _keep(self, wanted: Callable[[Chunk], bool]) -> None:
        self.model = {name: chunk for name, chunk in self.model.items() if wanted(chunk)}

    def _crash(self) -> None:
        if self.reopen is not None:
            self.collection = self.reopen()


def holds(start: Callable[[], AnySequence], examples: int) -> None:
    """Run random sequences, which are the same in each test run."""
    bounds = settings(
        max_examples=examples,
        stateful_step_count=12,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(start, settings=bounds)  # type: ignore[no-untyped-call]


@pytest.mark.process
def test_in_memory() -> None:
    holds(lambda: AnySequence(Collection.open(":memory:", identity=EMBEDDER.identity), None), 30)


@pytest.mark.process
def test_in_a_folder(tmp_path: Path) -> None:
    """A crash leaves the files as they are at that moment, as after kill -9."""
    numbers = count()

    def start() -> AnySequence:
        folder = tmp_path / str(next(numbers))

        def reopen() -> Collection:
            nonlocal folder
            found, folder = folder, tmp_path / str(next(numbers))
            subprocess.run(["cp", "-R", found, folder], check=True)
            machine.collection.close()
            return Collection.open(folder, identity=EMBEDDER.identity)

        machine = AnySequence(Collection.open(folder, identity=EMBEDDER.identity), reopen)
        return machine

    holds(start, 10)


@pytest.mark.server
@pytest.mark.parametrize("grpc_port", [None, CLOSED_PORT], ids=["grpc", "rest"])
@pytest.mark.process
def test_on_a_server(server_url: str, fresh_name: str, grpc_port: int | None) -> None:
    def start() -> AnySequence:
        def reopen() -> Collection:
            return Collection.open(server_url, name=fresh_name, identity=EMBEDDER.identity, grpc_port=grpc_port)

        machine = AnySequence(reopen(), reopen)
        machine.collection.delete(chunk.id for chunk in machine.collection.scroll())
        return machine

    holds(start, 15)
