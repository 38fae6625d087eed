"""Parts that need no Ray: counting lost work, checks before Ray starts, and the missing extra."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from t1_vectorstore.collection import Collection
from t1_vectorstore.errors import CorpusError, MissingExtraError
from t1_vectorstore.indexing import LoadProgress, LoadReport
from t1_vectorstore.indexing.ray import Workers, check_shards, load_on_ray
from t1_vectorstore.indexing.ray.load import DuplicateIds
from t1_vectorstore.indexing.ray.shard_progress import ShardProgress, add_lost_attempts
from tests.indexing_ray.makers import fake_embedder


def test_the_work_of_a_lost_worker_is_counted_once() -> None:
    progress = ShardProgress()
    assert progress.begin("a") == 0
    progress.report("a", 0, LoadProgress(documents=5, chunks=5, stored=4, encoded=5, tokens=50, removed=1))
    assert progress.begin("a") == 1
    lost = progress.earlier_attempts("a", 1)
    last = LoadReport(documents=9, chunks=10, unchanged=5, stored=5, verified=5, encoded=5, tokens=50, failed=1)
    report = add_lost_attempts(last, lost)
    assert report == replace(last, unchanged=1, stored=9, verified=9, encoded=10, tokens=100, removed=1)
    assert report.stored + report.unchanged == report.chunks


def test_no_more_chunks_count_as_stored_than_were_found() -> None:
    lost = [LoadProgress(stored=8), LoadProgress(stored=8)]  # the second stored what it did not find of the first
    report = add_lost_attempts(LoadReport(chunks=10, unchanged=9, stored=1), lost)
    assert (report.stored, report.unchanged) == (10, 0)


def test_the_total_counts_the_last_attempt_at_each_shard() -> None:
    progress = ShardProgress()
    for shard, stored in (("a", 7), ("b", 2)):
        progress.report(shard, progress.begin(shard), LoadProgress(stored=stored))
    progress.begin("a")
    assert progress.total().stored == 2


def test_failed_attempts_are_counted_until_one_stores_something() -> None:
    progress = ShardProgress()
    failed = []
    for stored in (0, 0, 3, 0, 0):
        attempt = progress.begin("a")
        failed.append(progress.failed_in_a_row("a"))
        progress.report("a", attempt, LoadProgress(stored=stored))
    assert failed == [0, 1, 2, 0, 1]


def test_ids_in_several_shards_are_found() -> None:
    duplicates = DuplicateIds()
    assert duplicates.add("one", [("a", b"1"), ("b", b"1"), ("b", b"2")]) == LoadReport()
    report = duplicates.add("two", [("a", b"1"), ("b", b"2"), ("c", b"1")])
    assert (report.repeated, report.failed) == (1, 1)
    assert report.failures[0].id == "b"
    assert "two and one have different documents with this id" in report.failures[0].reason
    duplicates.close()


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one"}\n')
    return path


def test_only_files_of_records_can_be_shards(tmp_path: Path, shard: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    for path in (tmp_path, tmp_path / "a.txt", Path("-")):
        with pytest.raises(ValueError, match="workers read files of records"):
            check_shards([shard, path])
    with pytest.raises(CorpusError, match="no such file"):
        check_shards([tmp_path / "none.jsonl"])
    with pytest.raises(ValueError, match="no shard"):
        check_shards([])


def test_a_collection_of_a_single_process_is_refused(
    tmp_path: Path, shard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("t1_vectorstore.indexing.ray.load.find_spec", lambda _: True)
    for location in (":memory:", tmp_path / "index"):
        with pytest.raises(ValueError, match=r"can be open in one process only; .* URL of a Qdrant server"):
            load_on_ray(
                [shard],
                fake_embedder,
                lambda location=location: Collection.open(location, identity=fake_embedder().identity),
            )


def test_a_missing_extra_is_reported(shard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"t1-vectorstore\[ray\]"):
        load_on_ray([shard], fake_embedder, lambda: pytest.fail("a collection was created"))


@pytest.mark.parametrize("wrong", [{"count": 0}, {"cpus": -1.0}, {"gpus": -0.5}])
def test_invalid_workers_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="at least one worker"):
        Workers(**wrong)  # type: ignore[arg-type]
