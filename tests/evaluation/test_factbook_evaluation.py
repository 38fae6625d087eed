"""The evaluation command on real, very small models."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from t1_vectorstore.demo.chains import Example
from t1_vectorstore.evaluation import factbook as evaluation
from t1_vectorstore.evaluation.thoughts import Probe
from t1_vectorstore.training.beginnings import begin
from t1_vectorstore.training.examples import read_data
from tests.training.small_recipes import built, recipe


@pytest.fixture(scope="module")
def trained(factbook: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """A model that thinks and its static twin, as they are before they are trained."""
    folder = tmp_path_factory.mktemp("models")
    data = read_data(built(factbook, folder / "data"))
    for static in (False, True):
        begin(recipe(thinks=not static), data, folder / str(static))
    return {static: folder / str(static) for static in (False, True)}


def test_measure_by_hand() -> None:
    documents = np.eye(3, dtype=np.float32)
    queries = np.array([[1, 0, 0], [0.8, 0.6, 0]], dtype=np.float32)
    examples = [Example("q", "t", "a", (), 1), Example("q", "t", "b", (), 1)]
    figures = evaluation.measure("split", "mode", queries, documents, ["a", "b", "c"], examples, None)
    assert figures.hit == 0.5
    assert figures.ndcg == pytest.approx((1 + 1 / np.log2(3)) / 2)


def test_the_command_prints_every_split_and_mode(
    factbook: Path, trained: dict[bool, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "figures.json"
    arguments = [
        "--data",
        factbook,
        "--model",
        trained[False],
        "--twin",
        trained[True],
        "--queries",
        "4",
        "--refine",
        "1",
        "--json",
        out,
    ]
    evaluation.main([str(argument) for argument in arguments])
    printed = capsys.readouterr().out
    figures = json.loads(out.read_text(encoding="utf-8"))
    splits = ["hop1", "comp2", "comp3", "len4", "ood2", "ood3", "ood4"]
    modes = ["thinking", "no thinking", "gold thought", "another's thought"]
    modes += ["thinking, 1 last", "no thinking, 1 last", "thinking, 1 mean", "no thinking, 1 mean", "static twin"]
    assert [(f["split"], f["mode"]) for f in figures] == [(split, mode) for split in splits for mode in modes]
    assert all(f"| {split} | {mode} |" in printed for split in splits for mode in modes)
    assert all((f["exact"] is None) == (f["mode"] != "thinking") for f in figures)


def test_a_given_thought_moves_the_vector_as_a_generated_one_does(trained: dict[bool, Path]) -> None:
    probe = Probe.load(str(trained[False]), dtype="float32")
    query = "what do the growers of Arvia raise"
    [own] = probe.embedder.embed_queries([query], think=True, budget=8)
    [given] = probe.embed_given([query], [own.thoughts[0].text])
    [other] = probe.embed_given([query], ["ivenia: exports."])
    assert own.vector @ other < 0.9999
    again = probe.prompter.thought_ids(own.thoughts[0].text)
    if len(again) == own.thoughts[0].tokens + 1:  # an untrained model may write tokens that its words do not give back
        assert own.vector @ given > 0.999


def test_as_thought_is_in_the_models_own_letters(trained: dict[bool, Path]) -> None:
    probe = Probe.load(str(trained[False]))
    assert probe.as_thought("Côte d'Ivoire: Exports.") == "cote d'ivoire: exports."


def test_no_queries_are_refused(factbook: Path) -> None:
    with pytest.raises(ValueError, match="--queries"):
        evaluation.main(["--data", str(factbook), "--queries", "0"])


def test_missing_data_is_refused_before_a_model_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        evaluation.main(["--data", str(tmp_path / "nowhere.jsonl.gz"), "--model", "no such model"])
