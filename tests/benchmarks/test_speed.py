"""The benchmark of speed: its contenders do the same work, and the README has the measured figures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.speed import plan, tables, targets, workload
from benchmarks.speed.__main__ import README, RESULTS
from benchmarks.speed.contenders import Ours, Transformers
from benchmarks.speed.limits import Bandwidth, Gemm
from benchmarks.speed.process import Process, Unavailable

TINY = {"vocab_size": 300, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2} | {
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
}

MACHINE = {"cpu": "a CPU", "cores": 2, "threads": 1}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> workload.Workload:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(workload.SHAPES, "tiny", TINY)
        return workload.prepare("tiny", tmp_path_factory.mktemp("speed"), documents=5)


def test_the_readme_has_the_measured_figures() -> None:
    readme = README.read_text(encoding="utf-8")
    assert tables.insert(readme, tables.render(json.loads(RESULTS.read_text(encoding="utf-8")))) == readme


def test_missing_markers_are_an_error() -> None:
    with pytest.raises(ValueError, match="0 places for the table 'search' instead of one"):
        tables.insert("# Benchmarks\n", {"search": "| |"})


def test_ratios_are_computed_for_each_round() -> None:
    ours = {"contender": "t1", "model": "m", "dtype": "d", "tokens": 100, "cpu": [1.0, 2.0, 10.0]}
    theirs = ours | {"contender": "sentence-transformers", "cpu": [3.0, 6.0, 30.0]}
    absent = {"contender": "vllm-pooling", "model": "m", "dtype": "d", "cpu": [], "skipped": "ModuleNotFoundError"}
    limit = ours | {"contender": "gemm", "cpu": [0.5, 1.0, 5.0]}
    table = tables.render({"documents": [ours, theirs, absent, limit], "machine": MACHINE, "rounds": 3})["documents"]
    assert "| 50 | |" in table
    assert "| 17 | 3.00 x as fast |" in table
    assert "| not measured | ModuleNotFoundError |" in table
    assert "| 100 | at 50% of this limit |" in table


def test_targets_that_are_met_or_missed() -> None:
    ours = {"contender": "t1", "model": "46M", "dtype": "bfloat16", "tokens": 100, "cpu": [1.0]}
    rows = [
        ours,
        ours | {"contender": "sentence-transformers", "cpu": [1.7]},
        ours | {"contender": "vllm-pooling", "cpu": [0.9]},
        ours | {"contender": "gemm", "cpu": [0.5], "skipped": "it ended in the second round"},
    ]
    table = tables.render({"documents": rows, "machine": MACHINE, "rounds": 1})["targets"]
    assert [line.split(" | ")[1:] for line in table.splitlines()[2:]] == [
        ["1.70 x", "≥ 1.6 x", "met |"],
        ["0.90 x", "≥ 1.0 x", "**missed** |"],
    ]


def test_description_of_the_plan() -> None:
    described = plan.describe(["t1-mini", "300M"], ["documents", "thoughts"], 3, {"seconds": {"documents": 90.0}})
    assert "documents: 1.5 minutes last time\n    t1-mini: 64 documents in bfloat16 and float32" in described
    assert described.splitlines()[-2:] == [
        "thoughts: not timed yet",
        "    300M: batches of 32, 8, 1 in bfloat16, by t1, transformers, vllm-generate, bandwidth",
    ]


def test_contenders_do_the_same_work(work: workload.Workload) -> None:
    ours, theirs = Ours(work, "float32", "cpu"), Transformers(work, "float32", "cpu")
    reference = theirs.read(work.documents)["vectors"]
    assert (ours.documents()["vectors"] * reference).sum(1).min() >= 0.9999
    assert len({tuple(row) for row in reference.round(4)}) == len(work.texts)
    prompts = work.queries[:3]
    assert {len(prompt) for prompt in prompts} == {workload.QUERY_TOKENS}
    our, their = (contender.thoughts(prompts, 6) for contender in (ours, theirs))
    assert our["ids"].shape == (3, 6)
    assert (our["ids"] == their["ids"]).all()
    assert (our["vectors"] * their["vectors"]).sum(1).min() >= 0.9999
    assert theirs.regret(prompts, our["ids"].tolist())["regret"] < 0.01


def test_wrong_thoughts_have_a_regret(work: workload.Workload) -> None:
    thoughts = np.full((2, 6), 7).tolist()
    assert Transformers(work, "float32", "cpu").regret(work.queries[:2], thoughts)["regret"] > 0.5


def test_limits_use_the_sizes_of_the_model(work: workload.Workload) -> None:
    gemm = Gemm(work, "float32", "cpu")
    assert sum(weight.numel() for weight in gemm._weights) == 64 * (64 + 32 + 32 + 64) + 3 * 64 * 128
    assert Bandwidth(work, "bfloat16", "cpu")._bytes == 2 * (2 * (64 * 192 + 3 * 64 * 128) + 300 * 64)


@pytest.mark.process
def test_contenders_that_cannot_run(work: workload.Workload, tmp_path: Path) -> None:
    work.write(tmp_path / "work.json")
    with pytest.raises(Unavailable, match="KeyError: 'nobody'"):
        Process("nobody", tmp_path / "work.json", dtype="float32", threads=1).ready()
    process = Process("t1", tmp_path / "work.json", dtype="float32", threads=1)
    process.ready()
    assert process.ask("documents")["cpu"] > 0
    assert process.arrays()["vectors"].shape == (len(work.texts), 64)
    with pytest.raises(Unavailable, match="AttributeError"):
        process.ask("fly")


def test_targets_apply_to_one_kind_of_gpu() -> None:
    row = {"contender": "t1", "model": "4B", "dtype": "bfloat16", "case": "documents", "tokens": 90_000, "cpu": [2.0]}
    for about, met in (("NVIDIA H200", ["**missed**", "met"]), ("NVIDIA T4", [])):
        rows = [row | {"about": about, "wall": [seconds]} for seconds in (3.0, 1.0)]
        found = targets.targets({"accelerator": rows})
        assert [("met" if each.met else "**missed**") for each in found] == met
    assert targets.targets({"accelerator": [{"skipped": "this machine has no GPU"}]}) == []
