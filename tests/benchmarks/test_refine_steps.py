"""The benchmark of refining: both variants compute the same states, and all figures are printed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import refine_steps
from benchmarks.speed.workload import prepare
from t1_vectorstore import T1Embedder
from t1_vectorstore.checkpoints.spec import Refining


@pytest.mark.thorough
def test_both_variants_compute_the_same(tmp_path: Path) -> None:
    work = prepare("t1-mini", tmp_path, documents=1)
    closed = [[*query, work.emb_id] for query in work.queries[:3]]
    uncached = refine_steps.Uncached(work.folder, "float32").refine(closed, 3)
    ours = T1Embedder.load("t1-mini", dtype="float32")._backend.refine(closed, Refining(steps=3, aggregate="last"))
    assert torch.cosine_similarity(uncached, torch.from_numpy(ours)).min() >= 0.9999


@pytest.mark.thorough
def test_all_figures_are_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refine_steps, "STEPS", 2)
    out = tmp_path / "figures.json"
    refine_steps.main(["--models", "t1-mini", "--batches", "1", "2", "--rounds", "1", "--json", str(out)])
    rows = json.loads(out.read_text())
    assert [(row["model"], row["queries"]) for row in rows] == [("t1-mini", 1), ("t1-mini", 2)]
    assert {"seconds", "tokens", "uncached"} < rows[0].keys()
    assert capsys.readouterr().out.count("| t1-mini |") == 2
