"""A local Ray with two workers fills the same collection as one process, even if a worker is killed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from t1_vectorstore.collection import Collection
from t1_vectorstore.errors import BackendError, CollectionMismatch
from t1_vectorstore.indexing import LoadProgress, load
from t1_vectorstore.indexing.ray import LOCAL, Workers, load_on_ray
from t1_vectorstore.indexing.ray.cluster import cluster
from t1_vectorstore.readers import read
from t1_vectorstore.types import ModelIdentity, Point
from tests.collection.conftest import admin, fresh_name, server_url
from tests.indexing_ray.makers import collection, deadly_collection, failing_embedder, fake_embedder

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed"),  # not imported: see cluster.py
    pytest.mark.filterwarnings("default"),  # Ray itself causes warnings
]
__all__ = ["admin", "fresh_name", "server_url"]  # fixtures

TWO = Workers(2, cpus=0.5)
SHARDS, DOCUMENTS = 4, 900


def test_a_missing_cluster_is_reported_at_once() -> None:
    for address in ("127.0.0.1:1", "ray://127.0.0.1:1"):
        with pytest.raises(BackendError, match="no Ray cluster answers"), cluster(address, 1):
            pass


def test_a_local_ray_listens_on_this_machine_only(local_ray: None) -> None:
    import ray

    assert {node["NodeManagerAddress"] for node in ray.nodes()} == {"127.0.0.1"}


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    """Start one Ray for all of these tests, since that takes seconds."""
    with cluster(LOCAL, TWO.count * TWO.cpus):
        yield


@pytest.fixture
def opener(local_ray: None, server_url: str, fresh_name: str) -> Callable[[], Collection]:
    return partial(collection, server_url, fresh_name)


@pytest.fixture
def shards(local_ray: None, tmp_path: Path) -> list[Path]:
    """Write JSON Lines and Parquet files, in which every tenth document needs several chunks."""
    paths = []
    for shard in range(SHARDS):
        rows = [
            {"id": f"{shard}/{n}", "text": f"document {n} of {shard}. " * (100 if n % 10 == 0 else 3), "n": n}
            for n in range(DOCUMENTS)
        ]
        paths.append(tmp_path / f"{shard}.{'jsonl' if shard % 2 else 'parquet'}")
        if shard % 2:
            paths[-1].write_text("".join(json.dumps(row) + "\n" for row in rows))
        else:
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), paths[-1])
    return paths


def sorted_points(opened: Collection) -> list[Point]:
    with opened:
        return sorted(opened.scroll(with_vectors=True), key=lambda point: point.chunk.id)


def assert_like_one_process(found: Collection, shards: list[Path]) -> int:
    """Compare with a load in one process, and return the number of chunks."""
    embedder = fake_embedder()
    alone = Collection.open(":memory:", identity=embedder.identity)
    load(read(shards), embedder, alone)
    ours, expected = sorted_points(found), sorted_points(alone)
    assert [point.chunk for point in ours] == [point.chunk for point in expected]
    vectors = [np.stack([point.vector for point in points]) for points in (ours, expected)]
    np.testing.assert_allclose(*vectors, atol=1e-5)
    return len(expected)


def test_two_workers_fill_the_same_collection_as_one_process(
    opener: Callable[[], Collection], shards: list[Path]
) -> None:
    reported: list[LoadProgress] = []
    report = load_on_ray(shards, fake_embedder, opener, workers=TWO, on_progress=reported.append)
    chunks = assert_like_one_process(opener(), shards)
    assert (report.documents, report.failed, report.unchanged) == (SHARDS * DOCUMENTS, 0, 0)
    assert report.stored == report.verified == report.encoded == report.chunks == chunks
    assert reported[-1].stored == report.stored
    again = load_on_ray(shards, fake_embedder, opener, workers=TWO)
    assert (again.stored, again.encoded, again.unchanged) == (0, 0, chunks)


@pytest.mark.parametrize("times", [1, 2])
def test_a_killed_worker_changes_nothing(
    server_url: str, fresh_name: str, shards: list[Path], tmp_path: Path, times: int
) -> None:
    deaths = tmp_path / "deaths"
    deaths.mkdir()
    deadly = partial(deadly_collection, server_url, fresh_name, deaths, times)
    report = load_on_ray(shards, fake_embedder, deadly, workers=TWO)
    assert len(list(deaths.iterdir())) == times
    chunks = assert_like_one_process(collection(server_url, fresh_name), shards)
    assert report.documents == SHARDS * DOCUMENTS
    assert report.chunks == chunks == report.stored + report.unchanged
    assert report.stored > 0.5 * chunks
    assert report.complete


def test_a_shard_that_kills_every_worker_ends_the_load_and_a_rerun_completes_it(
    server_url: str, fresh_name: str, shards: list[Path], tmp_path: Path
) -> None:
    deaths = tmp_path / "deaths"
    deaths.mkdir()
    deadly = partial(deadly_collection, server_url, fresh_name, deaths, 1000, write=1, before=True)
    with pytest.raises(BackendError, match=r"0\.parquet: 3 workers in a row were lost without storing anything"):
        load_on_ray(shards[:1], fake_embedder, deadly, workers=TWO)
    assert len(list(deaths.iterdir())) == 3
    report = load_on_ray(shards, fake_embedder, partial(collection, server_url, fresh_name), workers=TWO)
    assert report.complete
    assert_like_one_process(collection(server_url, fresh_name), shards)


def test_failures_and_dead_letters_of_all_workers_are_merged(opener: Callable[[], Collection], tmp_path: Path) -> None:
    shards = [tmp_path / f"{n}.jsonl" for n in range(3)]
    for n, shard in enumerate(shards):
        rows = [
            {"id": f"good {n}", "text": "good"},
            {"id": f"bad {n}", "text": ""},
            {"id": "the same", "text": "everywhere"},
            {"id": "other", "text": f"another in {n}"},
        ]
        shard.write_text("".join(json.dumps(row) + "\n" for row in rows) + "no json\n")
    report = load_on_ray(shards, fake_embedder, opener, workers=TWO, dead_letters=tmp_path / "dead.jsonl")
    assert (report.documents, report.unread, report.repeated, report.failed) == (12, 3, 2, 5)
    reasons = [(failure.id, failure.reason) for failure in report.failures]
    assert sorted(name for name, _ in reasons if name) == ["bad 0", "bad 1", "bad 2", "other", "other"]
    assert sum("have different documents with this id" in reason for _, reason in reasons) == 2
    assert sum(":5: not JSON" in reason for _, reason in reasons) == 3
    letters = [json.loads(line) for line in (tmp_path / "dead.jsonl").read_text().splitlines()]
    assert sorted((letter.get("id"), letter["t1_failure"]) for letter in letters if "id" in letter) == sorted(
        (name, reason) for name, reason in reasons if name
    )
    assert {point.chunk.id for point in sorted_points(opener())} == {"good 0", "good 1", "good 2", "the same", "other"}


def test_a_fatal_error_of_a_worker_is_raised(opener: Callable[[], Collection], shards: list[Path]) -> None:
    with pytest.raises(BackendError, match="no memory for this model"):
        load_on_ray(shards, failing_embedder, opener, workers=TWO)


def test_a_collection_of_another_model_is_refused(server_url: str, fresh_name: str, shards: list[Path]) -> None:
    other = ModelIdentity("other", "0" * 16, 16)
    with pytest.raises(CollectionMismatch, match="'other'"):
        load_on_ray(
            shards, fake_embedder, partial(Collection.open, server_url, name=fresh_name, identity=other), workers=TWO
        )


def test_missing_gpus_are_reported_at_once(opener: Callable[[], Collection], shards: list[Path]) -> None:
    with pytest.raises(ValueError, match="needs 1000 GPUs, and Ray has"):
        load_on_ray(shards, fake_embedder, opener, workers=Workers(1, gpus=1000))
