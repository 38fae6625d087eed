"""Cached queries: the same thoughts and vectors, without a call of the model."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from t1_vectorstore import QueryEmbedding, T1Embedder, T1VectorStore
from t1_vectorstore.backends import Backend
from t1_vectorstore.checkpoints.checkpoint import BUNDLED, Checkpoint
from t1_vectorstore.disk_cache import FILE, DiskCache
from t1_vectorstore.errors import CheckpointError

QUERY = "what does the country governed from Oslo export"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def load(cache: Path, **options: Any) -> T1Embedder:
    return T1Embedder.load(threads=1, cache=cache, lazy=True, **options)


@pytest.fixture
def without_model(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail if a model is loaded."""

    def refuse(*_: Any, **__: Any) -> Backend:
        raise AssertionError("a model is loaded")

    with monkeypatch.context() as patch:
        patch.setattr("t1_vectorstore.embedding.embedder.load_backend", refuse)
        yield


def same(one: QueryEmbedding, other: QueryEmbedding) -> bool:
    texts = one.thoughts == other.thoughts and one.query == other.query
    vectors = np.array_equal(one.vector, other.vector)
    return texts and vectors and np.array_equal(one.thought_vectors, other.thought_vectors)  # type: ignore[arg-type]


def test_a_cached_query_needs_no_model(folder: Path, request: pytest.FixtureRequest) -> None:
    first = load(folder).embed_query(QUERY)
    plain = T1Embedder.load(threads=1).embed_query(QUERY)
    assert not first.cached
    assert same(first, plain)
    request.getfixturevalue("without_model")
    second = load(folder).embed_query(QUERY)
    assert second.cached
    assert same(first, second)
    assert second.vector.flags.writeable
    with pytest.raises(AssertionError, match="a model is loaded"):
        load(folder).embed_query("another")


def test_results_say_whether_they_were_cached(folder: Path) -> None:
    with T1VectorStore.open(":memory:", load(folder)) as store:
        assert not store.search(QUERY).cached
        assert store.search(QUERY).cached
        assert not store.search(QUERY, think=False).cached
        assert store.search(QUERY, think="auto").cached == (store.search(QUERY, think="auto").decision is not None)


async def test_streams_yield_the_cached_thought(folder: Path) -> None:
    embedder = load(folder)
    first = embedder.embed_query(QUERY)
    *pieces, embedding = embedder.stream_query(QUERY)
    assert isinstance(embedding, QueryEmbedding)
    assert embedding.cached
    assert "".join(map(str, pieces)) == first.thoughts[0].text
    assert same(first, await embedder.aembed_query(QUERY))


@pytest.mark.thorough
@pytest.mark.parametrize(
    "options",
    [{"budget": 2}, {"think": False}, {"refine_steps": 1}, {"think": False, "refine_steps": 1}],
    ids=str,
)
def test_each_option_has_its_own_entry(folder: Path, options: dict[str, Any]) -> None:
    embedder = load(folder)
    embedder.embed_query(QUERY)
    first = embedder.embed_query(QUERY, **options)
    assert not first.cached
    assert embedder.embed_query(QUERY, **options).cached
    assert same(first, T1Embedder.load(threads=1).embed_query(QUERY, **options))


def test_sampled_thoughts_are_those_of_their_seed(folder: Path) -> None:
    sampling = {"overrides": {"decoding": {"temperature": 0.8, "seed": 1}}}
    first = load(folder, **sampling).embed_query(QUERY, samples=2)
    again = load(folder, **sampling).embed_query(QUERY, samples=2)
    assert again.cached
    assert same(first, again)
    assert same(first, T1Embedder.load(threads=1, **sampling).embed_query(QUERY, samples=2))
    assert not load(folder, **sampling).embed_query(QUERY).cached
    assert not load(folder, overrides={"decoding": {"temperature": 0.8, "seed": 2}}).embed_query(QUERY).cached


def test_several_queries_are_looked_up_one_by_one(folder: Path) -> None:
    embedder = load(folder)
    embedder.embed_queries(["one", "two"])
    seen: list[int] = []
    queries = ["three", "two", "four", "three", "one"]
    found = embedder._embed(queries, _options(), lambda index, _: seen.append(index))
    assert [each.cached for each in found] == [False, True, False, False, True]
    assert set(seen) <= {0, 2, 3}
    for each, plain in zip(found, T1Embedder.load(threads=1).embed_queries(queries), strict=True):
        assert each.query == plain.query
        assert each.vector == pytest.approx(plain.vector, abs=1e-3)
        assert [one.text for one in each.thoughts] == [one.text for one in plain.thoughts]


def _options() -> Any:
    from t1_vectorstore.options import EmbedQueriesOptions

    return EmbedQueriesOptions()


def test_a_thought_cut_by_a_deadline_is_not_stored(folder: Path) -> None:
    embedder = load(folder)
    cut = embedder.embed_query(QUERY, deadline=1e-9)
    assert cut.thoughts[0].stop == "deadline"
    whole = embedder.embed_query(QUERY)
    assert not whole.cached
    assert whole.thoughts[0].stop == "emb_token"
    assert embedder.embed_query(QUERY, deadline=1e-9).cached  # there is no need to cut it


def test_given_thoughts_and_documents_are_not_stored(folder: Path) -> None:
    embedder = load(folder)
    for _ in range(2):
        [given] = embedder.embed_queries([QUERY], thoughts=["norway: exports."])
        assert not given.cached
        embedder.embed_documents(["a document"])
    assert DiskCache(folder, 2**20).info().hits == 0


def test_truncated_queries_stay_truncated(folder: Path) -> None:
    embedder = load(folder, truncation="allow")
    text = "word " * 1000
    first, second = embedder.embed_query(text), embedder.embed_query(text)
    assert second.cached
    assert first.truncated == second.truncated is not None


def test_models_and_what_runs_them_have_their_own_entries(folder: Path) -> None:
    load(folder).embed_query(QUERY)
    assert load(folder).embed_query(QUERY).cached
    assert not load(folder, dtype="float32").embed_query(QUERY).cached
    assert not load(folder, overrides={"query_prompt": "{text}<think>"}).embed_query(QUERY).cached
    assert load(folder, truncation="allow").embed_query(QUERY).cached


@pytest.mark.thorough
@pytest.mark.parametrize("content", [b"", b"[]", b"[]\n", b"{}\n1234", b"\xff\n", b'[{"text": "a"}]\n', b"null\n"])
def test_entries_of_another_version_are_not_found(folder: Path, content: bytes) -> None:
    embedder = load(folder)
    embedder.embed_query(QUERY)
    assert embedder._cache is not None
    prepared = embedder._prepare([QUERY], _options())
    key = embedder._cache.key(prepared.prompts[0], prepared.plan)
    assert embedder._cache.get(key) is not None
    DiskCache(folder, 2**20).put(key, content)
    assert not embedder.embed_query(QUERY).cached
    assert embedder.embed_query(QUERY).cached


def test_a_damaged_cache_is_only_a_miss(folder: Path) -> None:
    first = load(folder).embed_query(QUERY)
    (folder / FILE).write_bytes(b"damaged" * 1000)
    embedder = load(folder)
    assert not embedder.embed_query(QUERY).cached
    assert same(first, embedder.embed_query(QUERY))


def test_digests_are_computed_once_for_unchanged_files(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "model"
    shutil.copytree(BUNDLED / "t1-mini", model)
    monkeypatch.setattr("t1_vectorstore.checkpoints.fingerprint._SETTLED", -(10**12))
    read: list[Path] = []
    from t1_vectorstore.checkpoints import folder as checkpoint_folder

    original = checkpoint_folder.file_digest

    def file_digest(file: Path) -> bytes:
        read.append(file)
        return original(file)

    monkeypatch.setattr(checkpoint_folder, "file_digest", file_digest)
    first = Checkpoint.load(model, cache=folder).identity
    assert read
    read.clear()
    assert Checkpoint.load(model, cache=folder).identity == first
    assert not read
    # A change of one byte that keeps size and time is found, because the file's entry has changed.
    weights = model / "model.safetensors"
    before = weights.stat()
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert Checkpoint.load(model, cache=folder).identity != first
    assert read


def test_the_digest_of_a_file_that_has_just_changed_is_not_stored(folder: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(BUNDLED / "t1-mini", model)
    Checkpoint.load(model, cache=folder).identity  # noqa: B018 - computed
    assert DiskCache(folder, 2**20).info().entries == 0
    assert time.time() - (model / "config.json").stat().st_ctime < 60


def test_a_lazy_model_raises_its_errors_when_it_is_needed(tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(BUNDLED / "t1-mini", model)
    with (model / "model.safetensors").open("r+b") as file:
        file.truncate(1_000_000)
    embedder = T1Embedder.load(model, lazy=True)
    for _ in range(2):
        with pytest.raises(CheckpointError):
            embedder.embed_query(QUERY)
    embedder.close()


def test_a_lazy_model_gives_the_same(folder: Path) -> None:
    lazy, eager = T1Embedder.load(threads=1, lazy=True), T1Embedder.load(threads=1)
    assert lazy.refines
    assert lazy.identity == eager.identity
    documents = ["one", "two"]
    assert np.array_equal(lazy.embed_documents(documents).vectors, eager.embed_documents(documents).vectors)
    assert same(lazy.embed_query(QUERY), eager.embed_query(QUERY))
