"""``t1 eval`` on data in the format of ``t1 data``: known thoughts, several splits, a second checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from t1_vectorstore import T1Embedder
from t1_vectorstore.cli import app
from t1_vectorstore.errors import CorpusError
from t1_vectorstore.evaluation.beir import read_beir
from t1_vectorstore.evaluation.benchmark import Benchmark
from t1_vectorstore.evaluation.registry import gold, swapped
from t1_vectorstore.evaluation.runs import read_trec
from t1_vectorstore.training.examples import Example, read_data, write_data
from t1_vectorstore.training.init_model import write_initial_model
from tests.evaluation import formulas, small_benchmark
from tests.training.small_recipes import recipe

SYSTEMS = "thinking,no-thinking,gold,swapped"


def t1_eval(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["eval", *map(str, arguments)])


@pytest.fixture(scope="module")
def mini() -> T1Embedder:
    return T1Embedder.load("t1-mini")


@pytest.fixture(scope="module")
def folder(mini: T1Embedder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three splits of the demo's questions. The right thoughts are those of t1-mini, except for one in split a."""
    questions = read_beir(small_benchmark.write(tmp_path_factory.mktemp("demo") / "demo"))
    thoughts = [e.thoughts[0].text.capitalize() for e in mini.embed_queries(questions.queries.values())]
    examples = [
        Example(text, thought, tuple(questions.relevant[query]))
        for (query, text), thought in zip(questions.queries.items(), thoughts, strict=True)
    ]
    splits = {
        "a": [replace(examples[0], thought="paris is the capital of france."), *examples[1:6]],
        "b": [*examples[6:11], replace(examples[11], thought=None)],
        "c": [replace(example, thought=None) for example in examples[:3]],
    }
    into = tmp_path_factory.mktemp("data") / "data"
    write_data(into, {str(d.id): d.text for d in questions.documents()}, splits)
    return into


@pytest.fixture(scope="module")
def measured(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Two splits evaluated at once, with a report and run files."""
    place = tmp_path_factory.mktemp("written")
    report, runs = place / "report.html", place / "runs"
    result = t1_eval(folder, "--split", "a,b", "--systems", SYSTEMS, "--report", report, "--runs", runs, "--json")
    assert result.exit_code == 0, result.output
    return {**json.loads(result.stdout), "notes": result.stderr, "report": report.read_text(), "runs": runs}


def by_name(found: Mapping[str, Any], place: int) -> dict[str, dict[str, Any]]:
    return {row["system"]: row for row in found["benchmarks"][place]["systems"]}


@pytest.mark.thorough
def test_a_model_that_thinks_only_when_asked_to(folder: Path, measured: dict[str, Any]) -> None:
    override = "think_by_default=false"
    result = t1_eval(folder, "--split", "b", "--systems", SYSTEMS, "--override", override, "--json")
    assert result.exit_code == 0, result.output
    for name, row in by_name(json.loads(result.stdout), 0).items():
        assert row["nDCG@10"] == pytest.approx(by_name(measured, 1)[name]["nDCG@10"]), name


def test_figures_equal_those_of_the_vectors(folder: Path, measured: dict[str, Any], mini: T1Embedder) -> None:
    task = read_beir(folder, "a")
    documents = list(task.documents())
    vectors = mini.embed_documents([document.text for document in documents]).vectors
    texts, right = list(task.queries.values()), [thoughts[0] for thoughts in task.thoughts.values()]
    ways: dict[str, dict[str, Any]] = {
        "thinking": {"think": True},
        "no-thinking": {"think": False},
        "gold": {"thoughts": right},
        "swapped": {"thoughts": [*right[1:], right[0]]},
    }
    embedded = {way: np.stack([e.vector for e in mini.embed_queries(texts, **how)]) for way, how in ways.items()}
    for way, queries in embedded.items():
        best = np.argsort(-(queries @ vectors.T), axis=1)
        rankings = [[str(documents[column].id) for column in row] for row in best]
        relevant = [{name: float(gain) for name, gain in task.relevant[query].items()} for query in task.queries]
        row = by_name(measured, 0)[way]
        for measure, formula, cut in (("nDCG@10", formulas.ndcg, 10), ("hit@1", formulas.hit, 1)):
            expected = np.mean([formula(*pair, cut) for pair in zip(rankings, relevant, strict=True)])
            assert row[measure] == pytest.approx(expected, abs=1e-4), (way, measure)
        if way != "thinking":
            closeness = (queries * embedded["thinking"]).sum(axis=1).mean()
            assert row["cosine_with_first"] == pytest.approx(closeness, abs=1e-3)


def test_vectors_depend_on_their_thoughts(measured: dict[str, Any]) -> None:
    found = by_name(measured, 1)
    assert found["gold"]["nDCG@10"] > 0.8 > 0.4 > found["swapped"]["nDCG@10"]  # one of few documents, by chance
    assert found["swapped"]["cosine_with_first"] < 0.5 < found["gold"]["cosine_with_first"]
    assert found["gold"]["thought_tokens"] == 0 < found["thinking"]["thought_tokens"]


def test_exact_thoughts_are_compared_as_the_model_writes_them(measured: dict[str, Any]) -> None:
    a, b = (by_name(measured, place) for place in (0, 1))
    assert a["thinking"]["exact_thoughts"] == pytest.approx(5 / 6)
    assert b["thinking"]["exact_thoughts"] == 1.0  # of the five that are known
    assert {row["exact_thoughts"] for row in (*a.values(), *b.values()) if row["system"] != "thinking"} == {None}


def test_splits_have_their_own_figures_and_files(measured: dict[str, Any]) -> None:
    names = [(each["benchmark"], each["queries"], each["with_right_thoughts"]) for each in measured["benchmarks"]]
    assert names == [("data/a", 6, 6), ("data/b", 6, 5)]
    assert (
        "data/b: no right thought is known for 1 of 6 queries; they are embedded without one for gold and swapped"
        in (" ".join(measured["notes"].split()))
    )
    assert set(read_trec(measured["runs"] / "b" / "gold.trec")) == {f"b-{row}" for row in range(6)}
    assert measured["report"].count('<h2 class="part">') == 2
    assert "swapped thought: " in measured["report"]


def test_another_checkpoint_is_compared_on_its_own_index(folder: Path, tmp_path: Path) -> None:
    twin = tmp_path / "twin"
    write_initial_model(recipe(thinks=False), read_data(folder, "a"), twin)
    result = t1_eval(folder, "--split", "a", "--systems", f"thinking,t1:{twin}", "--json")
    assert result.exit_code == 0, result.output
    thinking, static = json.loads(result.stdout)["benchmarks"][0]["systems"]
    assert static["system"] == f"t1:{twin}"
    assert static["thought_tokens"] == 0
    assert static["cosine_with_first"] is None  # another model's vectors
    assert static["first_minus_this"]["mean"] == pytest.approx(thinking["nDCG@10"] - static["nDCG@10"])
    assert thinking["nDCG@10"] > static["nDCG@10"]  # not trained
    refused = t1_eval(folder, "--split", "a", "--model", twin, "--systems", "gold")
    assert "does not think: leave gold out" in " ".join(refused.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--split", "c"], "data/c has no right thoughts to give: t1 data writes them to SPLIT.jsonl"),
        (["--split", "a,a"], "--split takes different names"),
        (["--split", "a", "--queries", "1"], "has no other thought than"),
        (["--split", "a", "--systems", "t1:"], "there is no system 't1:'; it is one of thinking, no-thinking, gold"),
        (["--split", "a", "--systems", "gold:2"], "there is no system 'gold:2'"),
        (["--split", "a", "--systems", "t1:no/such"], "no/such"),
    ],
)
def test_impossible_evaluations_are_refused(folder: Path, arguments: list[str], words: str) -> None:
    result = t1_eval(folder, "--systems", SYSTEMS, *arguments)
    assert result.exit_code in (1, 2)
    assert words in " ".join(result.stderr.split())


def test_own_judgements_have_no_thoughts_and_no_other_index(folder: Path, tmp_path: Path) -> None:
    index, labels = tmp_path / "index", tmp_path / "labels.jsonl"
    CliRunner().invoke(app, ["index", str(folder / "corpus.jsonl"), "--to", str(index)])
    example = json.loads((folder / "a.jsonl").read_text().splitlines()[0])
    labels.write_text(json.dumps({"query": example["query"], "positives": example["positives"]}) + "\n")
    for systems, words in (("gold", "labels.jsonl has no right thoughts"), ("t1:t1-mini", "leave t1:... out")):
        refused = t1_eval("--labels", labels, "--index", index, "--systems", systems)
        assert refused.exit_code in (1, 2)
        assert words in " ".join(refused.stderr.split())


def test_thoughts_must_be_texts(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "a.jsonl").write_text('{"query": "x", "thought": 3, "positives": ["y"]}\n')
    with pytest.raises(CorpusError, match=r"a\.jsonl:1: 'thought' must be a text or null, got 3"):
        read_beir(tmp_path, "a")


def test_swapped_thought_is_that_of_the_next_query_with_another_one() -> None:
    queries = {"q": "1", "r": "2", "s": "3", "u": "4"}
    thoughts = {"q": ("x",), "r": ("x", "y"), "s": ("z",)}
    task = Benchmark("b", None, queries, {query: {"d": 1} for query in queries}, thoughts=thoughts)
    assert gold(task) == {"q": "x", "r": "x", "s": "z"}
    assert swapped(task) == {"q": "z", "r": "z", "s": "x"}
