"""Scores of runs: those of trec_eval, which equal the formulas of this folder."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest

from t1_vectorstore.errors import CorpusError
from t1_vectorstore.evaluation import experiment
from t1_vectorstore.evaluation.baselines import Bm25
from t1_vectorstore.evaluation.benchmark import Benchmark
from t1_vectorstore.evaluation.report import write_report
from t1_vectorstore.evaluation.runs import Answer, Run, read_trec, top_documents, trec_order, write_trec
from t1_vectorstore.evaluation.scoring import compare, compare_ratio, interval, mean, score
from t1_vectorstore.evaluation.systems import OnProgress
from t1_vectorstore.types import Document
from tests.evaluation import formulas


def test_trec_eval_agrees_with_the_formulas() -> None:
    random.seed(7)
    queries, relevant, answers = {}, {}, {}
    for number in range(40):
        query = f"q{number}"
        found = random.sample([f"d{i}" for i in range(150)], 120)
        queries[query] = "?"
        relevant[query] = {f"d{i}": random.choice([1, 1, 2]) for i in random.sample(range(150), 5)}
        answers[query] = Answer({document: 1 / (rank + 1) for rank, document in enumerate(found)}, 0.0)
    scores = score(Run("random", answers), Benchmark("b", None, queries, relevant))
    for query, answer in answers.items():
        gains = {document: float(gain) for document, gain in relevant[query].items()}
        assert scores["nDCG@10"][query] == pytest.approx(formulas.ndcg(list(answer.ranking), gains, 10))
        assert scores["recall@100"][query] == pytest.approx(formulas.recall(list(answer.ranking), gains, 100))
        assert scores["hit@1"][query] == formulas.hit(list(answer.ranking), gains, 1)


def test_empty_ranking_scores_zero() -> None:
    benchmark = Benchmark("b", None, {"q": "?", "r": "?"}, {"q": {"a": 1}, "r": {"a": 1}})
    run = Run("half", {"q": Answer({"a": 1.0}, 0.0), "r": Answer({}, 0.0)})
    assert mean(score(run, benchmark)["nDCG@10"]) == 0.5
    with pytest.raises(ValueError, match="does not answer 1 queries, such as 'r'"):
        score(Run("less", {"q": Answer({"a": 1.0}, 0.0)}), benchmark)


class Fixed:
    """Answers every query with the same ranking, up to the requested depth."""

    name = "fixed"
    model = None

    def answer(self, task: Benchmark, depth: int, on_progress: OnProgress | None = None) -> dict[str, Answer]:
        ranking = dict(list({"x": 3.0, "a": 2.0, "b": 1.0}.items())[:depth])
        return {query: Answer(ranking, 0.0) for query in task.queries}


def test_excluded_documents_are_removed_before_the_ranking_is_truncated() -> None:
    benchmark = Benchmark("b", None, {"q": "?"}, {"q": {"b": 1}}, {"q": frozenset({"x"})})
    measured = experiment.run(benchmark, [Fixed()], depth=2)
    assert list(measured.outcomes["fixed"].run.answers["q"].ranking) == ["a", "b"]
    assert measured.outcomes["fixed"].scores["nDCG@10"]["q"] == pytest.approx(1 / math.log2(3))
    assert top_documents({"x": 2.0, "a": 1.0}, frozenset({"x"}), 1) == {"a": 1.0}


def test_equal_scores_are_ordered_as_in_trec_eval() -> None:
    found = {"b": 0.5, "Z": 0.5, "é": 0.5, "a#1": 0.5 + 1e-9, "a": 0.5, "10": 0.75, "9": 0.75, "last": 0.25}
    order = list(trec_order(found))
    assert order == ["9", "10", "é", "b", "a#1", "a", "Z", "last"]  # it compares scores in single precision
    for rank, document in enumerate(order, 1):
        task = Benchmark("b", None, {"q": "?"}, {"q": {document: 1}})
        assert score(Run("s", {"q": Answer(found, 0.0)}), task)["MRR"]["q"] == pytest.approx(1 / rank)


class Tied(Fixed):
    """Gives all documents the same score."""

    name = "tied"

    def answer(self, task: Benchmark, depth: int, on_progress: OnProgress | None = None) -> dict[str, Answer]:
        return {query: Answer(dict.fromkeys(["b", "x", "a"], 1.0), 0.0) for query in task.queries}


def test_shown_ranks_are_the_scored_ranks(tmp_path: Path) -> None:
    task = Benchmark("b", None, {"q": "?"}, {"q": {"b": 1}}, {"q": frozenset({"x"})})
    measured = experiment.run(task, [Fixed(), Tied()])
    assert [outcome.scores["MRR"]["q"] for outcome in measured.outcomes.values()] == [0.5, 1.0]
    task = Benchmark("b", None, {"q": "?"}, {"q": {"b": 1}})
    measured = experiment.run(task, [Fixed(), Tied()])
    assert [outcome.scores["MRR"]["q"] for outcome in measured.outcomes.values()] == [1 / 3, 0.5]
    write_report([measured], tmp_path / "report.html")
    assert "<td>b</td><td>3</td><td>2</td>" in (tmp_path / "report.html").read_text()
    write_trec(measured.outcomes["tied"].run, tmp_path / "run")
    assert [line.split()[2:4] for line in (tmp_path / "run").read_text().splitlines()] == [
        ["x", "1"],
        ["b", "2"],
        ["a", "3"],
    ]
    assert list(read_trec(tmp_path / "run")["q"]) == ["x", "b", "a"]


def test_systems_must_have_different_names() -> None:
    benchmark = Benchmark("b", None, {"q": "?"}, {"q": {"b": 1}})
    with pytest.raises(ValueError, match="different names"):
        experiment.run(benchmark, [Fixed(), Fixed()])


def test_differences_are_paired() -> None:
    theirs = {f"q{number}": number / 100 for number in range(100)}  # these vary a lot ...
    ours = {query: value + 0.05 for query, value in theirs.items()}
    ours["q0"] = -1.0
    found = compare(ours, theirs)
    assert (found.wins, found.losses) == (99, 1)
    assert found.mean == pytest.approx((99 * 0.05 - 1) / 100)
    assert found.low <= found.mean <= found.high
    same = compare({f"q{n}": n / 100 + 0.05 for n in range(100)}, theirs)
    assert same.low == pytest.approx(0.05)  # ... and yet the difference is certain
    with pytest.raises(ValueError, match="same queries"):
        compare({"q": 1.0}, {"r": 1.0})


def test_ratios_are_paired() -> None:
    theirs = {f"q{number}": float(number % 4 == 0) for number in range(100)}
    ours = {query: value or float(place % 4 == 1) for place, (query, value) in enumerate(theirs.items())}
    found = compare_ratio(ours, theirs)
    assert found is not None
    assert found.ratio == pytest.approx(2)
    assert found.high is not None
    assert 1 < found.low < 2 < found.high
    always = compare_ratio(dict.fromkeys(theirs, 1.0), dict.fromkeys(theirs, 0.5))
    assert always is not None
    assert (always.ratio, always.low, always.high) == (2, 2, 2)


def test_ratio_to_a_score_near_zero_has_no_upper_bound() -> None:
    once = {f"q{number}": float(number == 0) for number in range(50)}
    found = compare_ratio(dict.fromkeys(once, 1.0), once)
    assert found is not None
    assert (found.ratio, found.high) == (50, None)  # a third of all resamples lacks the one query
    assert 1 < found.low < 50
    assert compare_ratio(once, dict.fromkeys(once, 0.0)) is None


def test_95_percent_interval_covers_the_mean_in_about_95_percent_of_samples() -> None:
    random.seed(3)
    covered = sum(low <= 0.3 <= high for low, high in (_sample_interval() for _ in range(200)))
    assert 180 <= covered <= 199


def _sample_interval() -> tuple[float, float]:
    return interval([float(random.random() < 0.3) for _ in range(80)], resamples=400)


def test_run_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    run = Run("my system", {"q": Answer({"a": 2.5, "b": 1.25}, 0.1), "r": Answer({"a": 0.5}, 0.1)})
    write_trec(run, tmp_path / "run")
    assert (tmp_path / "run").read_text().splitlines()[0] == "q Q0 a 1 2.5 my_system"
    assert read_trec(tmp_path / "run") == {"q": {"a": 2.5, "b": 1.25}, "r": {"a": 0.5}}


def test_malformed_run_files_and_ids_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'two words' contains white space"):
        write_trec(Run("s", {"q": Answer({"two words": 1.0}, 0.0)}), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    (tmp_path / "run").write_text("q Q0 a 1 2.5 s\nq Q0 b 2 high s\n")
    with pytest.raises(CorpusError, match=r"run:2: expected 'query Q0"):
        read_trec(tmp_path / "run")


def test_bm25_needs_words() -> None:
    with pytest.raises(ValueError, match="none of 2 texts has one"):
        Bm25(Document(text, id=text) for text in ("!", "a"))


def test_bm25_scores_are_those_of_lucene() -> None:
    texts = {"a": "cats chase mice", "b": "dogs chase cats and cats", "c": "birds sing"}
    system = Bm25(Document(text, id=name) for name, text in texts.items())
    task = Benchmark("b", None, {"q": "cats"}, {"q": {"a": 1}})
    ranking = system.answer(task, 10)["q"].ranking
    lengths = {"a": 3, "b": 4, "c": 2}  # "and" is a stop word
    average = sum(lengths.values()) / 3
    idf = math.log(1 + (3 - 2 + 0.5) / (2 + 0.5))
    by_hand = {
        name: idf * times / (times + 1.5 * (1 - 0.75 + 0.75 * lengths[name] / average))
        for name, times in (("a", 1), ("b", 2))
    }
    assert ranking == pytest.approx(by_hand, rel=1e-5)
    assert list(ranking) == ["b", "a"]
