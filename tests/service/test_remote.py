"""Models and indexes of a service, used from elsewhere as if they were here: the bundled model, on a real socket."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from typer.testing import CliRunner

from t1_vectorstore import Document, T1Embedder, T1VectorStore
from t1_vectorstore.checkpoints.spec import Decoding
from t1_vectorstore.cli import app
from t1_vectorstore.collection import Collection
from t1_vectorstore.errors import (
    BackendError,
    CheckpointError,
    CollectionMismatch,
    CollectionNotFound,
    StoreError,
    StoreUnavailable,
)
from t1_vectorstore.langchain import T1Embeddings
from t1_vectorstore.options import Retry
from t1_vectorstore.server.keys import KeyFile, new_key
from t1_vectorstore.service import ServiceClient
from t1_vectorstore.types import Calibration, Chunk, Point, QueryEmbedding, SearchResult
from tests.service.conftest import DOCUMENTS
from tests.service.live import Live, live
from tests.service.slow import slow_embedder, until

QUESTION = "what is the capital of norway"


@pytest.fixture(scope="module")
def served(mini: T1Embedder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A service with an index of the bundled model."""
    with T1VectorStore.open(tmp_path_factory.mktemp("served") / "index", mini, hybrid=True) as store:
        store.add(DOCUMENTS)
        with live({"capitals": store}) as service:
            yield service


@pytest.fixture(scope="module")
def remote(served: Live) -> Iterator[T1VectorStore]:
    """The same index, from elsewhere."""
    with T1Embedder.load(served.url) as embedder, T1VectorStore.open(f"t1+{served.url}", embedder) as store:
        yield store


@pytest.fixture
def local(served: Live) -> T1VectorStore:
    """The same index, as the service has it open."""
    store: T1VectorStore = served.app.state.service.catalog.stores["capitals"]
    return store


def test_a_model_elsewhere_gives_the_same_vectors_and_thoughts(served: Live, mini: T1Embedder) -> None:
    with T1Embedder.load(served.url) as embedder:
        assert embedder.identity == mini.identity
        assert embedder.spec == mini.spec
        texts = [document.text for document in DOCUMENTS] * 30  # more than one request
        cosines = (embedder.embed_documents(texts).vectors * mini.embed_documents(texts).vectors).sum(1)
        assert cosines.min() > 0.99999
        here, there = mini.embed_query(QUESTION), embedder.embed_query(QUESTION)
        assert there.thoughts == here.thoughts
        assert float(there.vector @ here.vector) > 0.99999
        *pieces, last = embedder.stream_query(QUESTION)
        assert isinstance(last, QueryEmbedding)
        assert "".join(map(str, pieces)) == last.thoughts[0].text == here.thoughts[0].text


@pytest.mark.parametrize(
    "options", [{}, {"think": False}, {"hybrid": False, "filter": {"year": {"gte": 1815}}}, {"diversity": 0.5}]
)
def test_a_search_elsewhere_finds_the_same(
    remote: T1VectorStore, local: T1VectorStore, options: dict[str, object]
) -> None:
    there, here = remote.search(QUESTION, **options), local.search(QUESTION, **options)  # type: ignore[arg-type]
    assert [hit.id for hit in there.hits] == [hit.id for hit in here.hits]
    assert [hit.score for hit in there.hits] == pytest.approx([hit.score for hit in here.hits], abs=2e-6)
    assert there.thoughts == here.thoughts


async def test_awaited_and_streamed_searches_are_the_same(remote: T1VectorStore) -> None:
    expected = remote.search(QUESTION)
    assert (await remote.asearch(QUESTION)).hits == expected.hits
    async with aclosing(remote.astream(QUESTION)) as items:
        *pieces, last = [item async for item in items]
    assert isinstance(last, SearchResult)
    assert last.hits == expected.hits
    assert "".join(map(str, pieces)) == expected.thoughts[0].text


async def test_a_stream_that_is_left_frees_the_slot_at_the_service(served: Live, remote: T1VectorStore) -> None:
    async with aclosing(remote.astream(QUESTION, budget=200)) as items:
        assert isinstance(await anext(items), str)
    slots = served.app.state.service.queries
    for _ in range(500):
        if not slots.running:
            return
        await asyncio.sleep(0.02)
    pytest.fail("the service still works on the search")


def test_documents_are_added_verified_and_deleted_elsewhere(remote: T1VectorStore) -> None:
    before = len(remote)
    with remote.collection.loading(chunk_size=1600, overlap=0):
        report = remote.add([Document("Quito is the capital of Ecuador.", "quito"), Document("", "empty")])
    assert (report.stored, report.verified, report.failed) == (1, 1, 1)
    assert remote.get(["quito"])["quito"].text == "Quito is the capital of Ecuador."
    assert remote.add([Document("Quito is the capital of Ecuador.", "quito")]).unchanged == 1
    assert remote.delete(["quito"]) == 1
    assert len(remote) == before
    assert remote.collection.latest_load is not None
    assert remote.collection.latest_load.finished


def test_the_adapters_take_the_url_of_a_service(served: Live, mini: T1Embedder) -> None:
    vector = T1Embeddings(model=served.url).embed_query(QUESTION)
    assert float(np.asarray(vector) @ mini.embed_query(QUESTION).vector) > 0.99999


def test_the_command_line_takes_the_url_of_a_service(served: Live, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("Bogota is the capital of Colombia.")
    note = str(tmp_path / "note.txt")
    index = f"t1+{served.url}"
    made = CliRunner().invoke(app, ["index", note, "--to", index, "--model", served.url])
    assert made.exit_code == 0, made.output
    found = CliRunner().invoke(app, ["search", index, "the capital of colombia", "--model", served.url, "--json"])
    assert '"text": "Bogota is the capital of Colombia."' in found.stdout
    deleted = CliRunner().invoke(app, ["delete", index, "--id", note])
    assert deleted.stdout == "1 chunk deleted\n"


def test_keys_decide_who_reads_and_writes(mini: T1Embedder, tmp_path: Path) -> None:
    reader, reading = new_key("reader")
    writer, writing = new_key("writer", scopes=("read", "write"))
    (tmp_path / "keys.json").write_text(KeyFile(keys=(reading, writing)).model_dump_json())
    with (
        T1VectorStore.open(tmp_path / "index", mini) as store,
        live({"a": store}, keys=tmp_path / "keys.json") as service,
    ):
        with pytest.raises(BackendError, match="give a key that may, token= or T1_API_KEY"):
            T1Embedder.load(service.url)
        with pytest.raises(StoreError, match="API key"):
            T1VectorStore.open(f"t1+{service.url}", mini, api_key="t1_wrong")
        with T1Embedder.load(service.url, token=reader) as embedder:
            with T1VectorStore.open(f"t1+{service.url}", embedder, api_key=reader) as reads:
                assert reads.count() == 0
                with pytest.raises(StoreError, match="does not have the scope 'write'"):
                    reads.add(DOCUMENTS)
            with T1VectorStore.open(f"t1+{service.url}", embedder, api_key=writer) as writes:
                assert writes.add(DOCUMENTS).complete


def test_what_is_not_there_is_named(served: Live, mini: T1Embedder) -> None:
    with pytest.raises(CollectionNotFound, match="has no index 'other'; it has 'capitals'"):
        T1VectorStore.open(f"t1+{served.url}", mini, name="other")
    with pytest.raises(CheckpointError, match="has no model 'other'; it has 't1-mini'"):
        T1Embedder.load(f"{served.url}#other")
    with pytest.raises(CollectionMismatch, match="cannot be mixed"):
        T1VectorStore.open(f"t1+{served.url}", T1Embedder.fake(256))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "cuda"}, "device='cuda' is chosen where the service is started"),
        ({"overrides": {"pooling_layer": 2}}, "pooling_layer is chosen where the service is started"),
        ({"preset": "x/y"}, "preset is chosen where the service is started"),
        ({"backend": "transformers"}, "backend='service' is for the URL of a T1 service"),
    ],
)
def test_options_of_the_service_are_not_the_clients(served: Live, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        T1Embedder.load(served.url, **options)  # type: ignore[call-overload]


def test_overrides_of_prompts_and_limits_are_the_clients(served: Live, mini: T1Embedder) -> None:
    with T1Embedder.load(served.url, overrides={"truncate_dim": 64}) as embedder:
        here = T1Embedder.load(overrides={"truncate_dim": 64})
        assert embedder.identity == here.identity
        assert embedder.embed_query(QUESTION).vector.shape == (64,)


def test_a_service_that_has_gone_is_reported(mini: T1Embedder, tmp_path: Path) -> None:
    with T1VectorStore.open(tmp_path / "index", mini) as store, live({"a": store}) as service:
        embedder = T1Embedder.load(service.url)
        remote = T1VectorStore.open(f"t1+{service.url}", mini, retry=Retry(budget=0.2))
    with pytest.raises(StoreUnavailable, match=r"cannot be reached.*is the service running"):
        remote.count()
    embedder._backend._client._patience = 0.2  # type: ignore[attr-defined]
    with pytest.raises(BackendError, match=r"cannot be reached.*is the service running"):
        embedder.embed_query(QUESTION)


def test_many_prompts_are_sent_in_several_requests(
    served: Live, mini: T1Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("t1_vectorstore.backends.service._BATCH", 2)
    queries = [QUESTION, "what is mined in Peru", "where is Oslo", "which money is used in Chad", "who is it"]
    with T1Embedder.load(served.url) as embedder:
        for options in ({}, {"think": False, "refine_steps": 1}):
            there, here = embedder.embed_queries(queries, **options), mini.embed_queries(queries, **options)  # type: ignore[arg-type]
            assert [each.thoughts for each in there] == [each.thoughts for each in here]
            assert min(float(t.vector @ h.vector) for t, h in zip(there, here, strict=True)) > 0.99999
        tokens: dict[int, list[int]] = {}
        prompts = [prompt.ids for prompt in embedder._prompter.queries(queries, think=True)]
        thoughts = embedder._backend.think(
            prompts,
            Decoding(max_tokens=20, temperature=0.7),
            samples=2,
            on_tokens=lambda index, new: tokens.setdefault(index, []).extend(new),
        )
        assert [tokens.get(index, []) for index in range(10)] == [list(thought.ids) for thought in thoughts]
        decoding = Decoding(max_tokens=20, temperature=0.7)
        assert [t.ids for t in thoughts] == [t.ids for t in mini._backend.think(prompts, decoding, samples=2)]


async def test_an_awaited_search_asks_for_nothing_in_the_event_loop(
    remote: T1VectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop_thread, threads = threading.current_thread(), []
    send = ServiceClient._send

    def watched(self: ServiceClient, *args: Any, **options: Any) -> Any:
        threads.append(threading.current_thread())
        return send(self, *args, **options)

    monkeypatch.setattr(ServiceClient, "_send", watched)
    assert (await remote.asearch(QUESTION, filter={"year": {"gte": 1815}})).hits
    assert threads
    assert loop_thread not in threads


def test_a_calibration_that_is_saved_elsewhere_is_used_by_the_service_and_later_clients(
    served: Live, local: T1VectorStore, remote: T1VectorStore
) -> None:
    calibration = Calibration(0.4, 20, labelled=True, quality=0.99, tokens=0.6, fitted="2026-01-01T00:00:00+00:00")
    remote.collection.save_calibration(calibration)
    assert local.collection.calibration == calibration
    with T1VectorStore.open(f"t1+{served.url}", remote.embedder) as later:
        assert later.collection.calibration == calibration


def test_rows_are_written_while_documents_wait(tmp_path: Path) -> None:
    embedder, backend = slow_embedder()
    slots = {"document_slots": 1, "document_queue": 0}
    with T1VectorStore.open(tmp_path / "index", embedder) as store, live({"a": store}, **slots) as service:
        backend.may_encode.clear()
        body = {"documents": [{"text": "Llamas.", "id": "x"}]}
        loading = threading.Thread(target=httpx.post, args=(f"{service.url}/v1/documents",), kwargs={"json": body})
        loading.start()
        try:
            until(lambda: service.app.state.service.documents.running == 1)
            with Collection.open(f"t1+{service.url}") as collection:
                point = Point(Chunk("a", "a", "text", 0, 4), np.ones(16, np.float32))
                assert collection.upsert([point]) == 1
                assert collection.delete(["a"]) == 1
        finally:
            backend.may_encode.set()
            loading.join()
