"""``t1 eval`` and ``t1 tune``, with the bundled model."""

from __future__ import annotations

import json
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from t1_vectorstore.cli import app
from t1_vectorstore.cli.eval_files import _file_names
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.evaluation import tuning
from t1_vectorstore.evaluation.beir import read_beir
from t1_vectorstore.evaluation.benchmark import Benchmark
from t1_vectorstore.evaluation.experiment import Experiment, Outcome
from t1_vectorstore.evaluation.runs import Answer, Run, read_trec
from t1_vectorstore.evaluation.scoring import score
from t1_vectorstore.evaluation.systems import T1System
from t1_vectorstore.evaluation.tuning import TuningResult, describe
from t1_vectorstore.types import QueryEmbedding
from t1_vectorstore.vectorstore import T1VectorStore
from tests.evaluation import small_benchmark


def t1(*arguments: str | Path, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


def rows(*arguments: str | Path) -> list[dict[str, Any]]:
    """The figures of the only benchmark, one row for each system."""
    [found] = json.loads(t1("eval", *arguments, "--json").stdout)["benchmarks"]
    assert isinstance(found["systems"], list)
    return found["systems"]


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_benchmark.write(tmp_path_factory.mktemp("benchmarks") / "questions")


@pytest.fixture(scope="module")
def index(questions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hybrid index of the documents."""
    place = tmp_path_factory.mktemp("index") / "index"
    t1("index", questions / "corpus.jsonl", "--to", place, "--hybrid")
    return place


@pytest.fixture(scope="module")
def labels(questions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same questions as judgements, each also in another spelling: tuning needs 20."""
    queries = [json.loads(line) for line in (questions / "queries.jsonl").read_text().splitlines()]
    judged = [line.split("\t") for line in (questions / "qrels" / "test.tsv").read_text().splitlines()[1:]]
    gold = {query: document for query, document, _ in judged}
    kept = [query for query in queries if query["_id"] in gold]
    lines = [{"query": query["text"], "positives": [gold[query["_id"]]]} for query in kept]
    lines += [{"query": f"{query['text']} ?", "positives": {gold[query["_id"]]: 2}} for query in kept]
    path = tmp_path_factory.mktemp("labels") / "labels.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_run_files_have_different_names() -> None:
    names = _file_names(["thinking", "t1:a/b", "t1:a-b", "t1:a:b"])
    assert names == {"thinking": "thinking", "t1:a/b": "t1-a-b", "t1:a-b": "t1-a-b-2", "t1:a:b": "t1-a-b-3"}


def test_systems_are_compared_on_a_benchmark(questions: Path, tmp_path: Path) -> None:
    report, runs = tmp_path / "report.html", tmp_path / "runs"
    systems = "thinking,no-thinking,hybrid,bm25"
    found = json.loads(t1("eval", questions, "--systems", systems, "--report", report, "--runs", runs, "--json").stdout)
    figures = {row["system"]: row for row in found["benchmarks"][0]["systems"]}
    assert list(figures) == systems.split(",")
    assert figures["thinking"]["queries"] == 12
    assert found["benchmarks"][0]["unjudged"] == 1
    assert figures["thinking"]["nDCG@10"] > figures["no-thinking"]["nDCG@10"] > 0
    assert figures["thinking"]["thought_tokens"] > 5 > 0 == figures["no-thinking"]["thought_tokens"]
    won = figures["no-thinking"]["first_minus_this"]
    assert won["mean"] == pytest.approx(figures["thinking"]["nDCG@10"] - figures["no-thinking"]["nDCG@10"])
    assert won["low"] <= won["mean"] <= won["high"]
    assert sorted(path.name for path in runs.iterdir()) == [f"{name}.trec" for name in sorted(systems.split(","))]
    assert set(read_trec(runs / "thinking.trec")) == {f"q{row}" for row in range(12)}
    page = Page(report.read_text())
    assert page.plots == 4
    assert page.links == []
    assert "Left out: 1 without a judgement." in page.text
    assert "no-thinking thought" not in page.text  # it has none
    assert "thinking thought: " in page.text


@pytest.mark.thorough
def test_refined_systems_are_compared(questions: Path) -> None:
    systems = "thinking,rt:1:last,rt:4"
    found = rows(questions, "--systems", systems, "--queries", "6")
    assert [row["system"] for row in found] == systems.split(",")
    assert len({row["thought_tokens"] for row in found}) == 1  # thoughts are the same, vectors are not
    assert max(row["cosine_with_first"] for row in found[1:]) < 0.999


def test_vector_weight_changes_the_ranking(questions: Path) -> None:
    found = rows(questions, "--systems", "hybrid:1,no-thinking,hybrid:0", "--override", "thinks=false")
    by_vector, plain, by_words = (row["nDCG@10"] for row in found)
    assert by_vector == plain > 0.5 > by_words  # the questions share few words with their documents


def test_systems_that_differ_only_in_ranking_share_embeddings(questions: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embedded: list[str] = []
    embed = T1Embedder.embed_queries

    def counted(self: T1Embedder, texts: Iterable[str], **options: Any) -> list[QueryEmbedding]:
        embedded.extend(texts := list(texts))
        return embed(self, texts, **options)

    monkeypatch.setattr(T1Embedder, "embed_queries", counted)
    found = rows(questions, "--systems", "thinking,hybrid,hybrid:0.9,no-thinking")
    assert len(embedded) == 2 * len(set(embedded)) == 24  # with a thought and without
    assert len({row["thought_tokens"] for row in found[:3]}) == 1
    assert all(row["seconds"] > 0 for row in found)


def test_table_is_markdown(questions: Path) -> None:
    output = t1("eval", questions, "--systems", "no-thinking", "--queries", "3").stdout
    assert "questions/test, 3 queries (left out: 1 without a judgement), t1-mini" in output
    assert "| no-thinking |" in output


def test_index_is_kept_and_used_again(questions: Path, tmp_path: Path) -> None:
    first, again = (rows(questions, "--systems", "no-thinking", "--index", tmp_path / "kept")[0] for _ in range(2))
    assert {**first, "seconds": 0} == {**again, "seconds": 0}
    assert json.loads(t1("info", tmp_path / "kept", "--json").stdout)["points"] == 60


def test_own_judgements_on_an_existing_index(index: Path, labels: Path) -> None:
    thinking, bm25 = rows("--labels", labels, "--index", index, "--systems", "thinking,bm25")
    assert thinking["queries"] == 24
    assert thinking["nDCG@10"] > 0.8 > bm25["nDCG@10"]


@pytest.mark.thorough
def test_tuning_reports_the_chosen_options_on_other_queries(index: Path, labels: Path) -> None:
    found = json.loads(t1("tune", "--labels", labels, "--index", index, "--json").stdout)
    tried: dict[str, Any] = {row["system"]: row for row in found["chosen_on"]}
    assert "think=False" in tried
    assert {"hybrid=False", "vector_weight=0.3", "vector_weight=0.7", "vector_weight=0.9"} < set(tried)
    assert {"refine_steps=1", "refine_steps=2", "refine_steps=4"} < set(tried)
    assert any(name.startswith("budget=") for name in tried)
    assert found["options"].get("think") is not False  # these questions need a thought
    assert {row["queries"] for row in [*found["chosen_on"], *found["reported_on"]]} == {12}


def test_thinking_is_tried_with_a_model_that_thinks_only_when_asked_to(questions: Path) -> None:
    benchmark = read_beir(questions)
    with (
        T1Embedder.load(overrides={"think_by_default": False}) as embedder,
        T1VectorStore.open(":memory:", embedder) as store,
    ):
        first, thinking, *budgets = tuning.candidates(store, benchmark)[:4]
    assert (first, thinking) == ({}, {"think": True})
    assert all(options["think"] is True and options["budget"] > 1 for options in budgets)


@pytest.mark.parametrize("worse", [False, pytest.param(True, marks=pytest.mark.thorough)])
@pytest.mark.parametrize(
    ("options", "call"),
    [
        ({"budget": 28}, "t1 search {index} QUERY --budget 28"),
        ({"think": False}, "t1 search {index} QUERY --no-think"),
        ({"think": True, "budget": 14}, "t1 search {index} QUERY --think --budget 14"),
        ({"fusion": "dbsf"}, "store.search(query, fusion='dbsf')"),
    ],
)
def test_tuning_shows_how_to_search_with_better_options_and_advises_against_worse_ones(
    index: Path, labels: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], call: str, worse: bool
) -> None:
    def choose(store: T1VectorStore, benchmark: Benchmark, *, seed: int) -> TuningResult:
        right = {query: dict.fromkeys(gains, 1.0) for query, gains in benchmark.relevant.items()}
        rankings = {describe(options): {query: {} for query in right} if worse else right, "defaults": right}
        outcomes = {}
        for name, ranking in rankings.items():
            run = Run(name, {query: Answer(ranking[query], 0.1, ()) for query in right}, None)
            outcomes[name] = Outcome(run, score(run, benchmark))
        found = Experiment(benchmark, outcomes)
        return TuningResult(options, found, found)

    monkeypatch.setattr(tuning, "tune", choose)
    output = t1("tune", "--labels", labels, "--index", index).stdout
    assert ("significantly worse than the defaults: keep the defaults" in output) is worse
    assert (call.format(index=index) in output) is not worse


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--systems", "thinking,magic"], "no system 'magic'"),
        (["--systems", "rt:0"], "no system 'rt:0'"),
        (["--systems", "rt:2:max"], "no system 'rt:2:max'"),
        (["--systems", "hybrid:1.5"], "no system 'hybrid:1.5'"),
        (
            ["--systems", "hybrid:.7,hybrid:0.70"],
            "got 'hybrid:0.7,hybrid:0.7'",
        ),
        (["--systems", "thinking,rt:65"], "refine_steps must be less than or equal to 64, got 65"),
        (["--systems", "thinking,thinking"], "different names"),
        (["--split", "dev"], "has no qrels/dev.tsv or qrels.dev.tsv"),
        (["--long"], "needs --bright TASK"),
        (["--labels", "x.jsonl"], "give --index, and no FOLDER"),
    ],
)
def test_impossible_evaluations_are_refused(questions: Path, arguments: list[str], words: str) -> None:
    result = CliRunner().invoke(app, ["eval", str(questions), *arguments])
    assert result.exit_code in (1, 2)
    assert words in result.stderr


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"query": "?", "positives": ["nowhere"]}', "the relevant document 'nowhere' is not in the corpus"),
        ('{"_id": "a", "text": "b"}', "labels:1: no field 'query'; the record has '_id', 'text'\n"),
        ('{"query": "", "positives": ["a"]}', "labels:1: 'query' must be a text, got ''"),
        ('{"query": "?"}', "labels:1: 'positives' must be a list of document ids"),
        ('{"query": "?", "positives": []}', "labels:1: 'positives' is empty"),
        ('{"query": "?", "positives": {"a": 0}}', "whole gains above 0"),
        ("[]", "labels:1: a line must hold a JSON object"),
        ("{", "labels:1: not JSON"),
        ("", "has no queries"),
    ],
)
def test_malformed_labels_are_refused(index: Path, tmp_path: Path, line: str, words: str) -> None:
    (tmp_path / "labels").write_text(line + "\n")
    result = t1("eval", "--labels", tmp_path / "labels", "--index", index, code=1)
    assert words in result.stderr


def test_tuning_needs_20_queries(index: Path, labels: Path, tmp_path: Path) -> None:
    (tmp_path / "few.jsonl").write_text("".join(labels.read_text().splitlines(keepends=True)[:19]))
    assert (
        "needs at least 20 judged queries, got 19"
        in t1("tune", "--labels", tmp_path / "few.jsonl", "--index", index, code=2).stderr
    )


class Page(HTMLParser):
    """The text, plots and links of a report."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.plots, self.links = "", 0, list[str]()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.plots += tag == "svg"
        self.links += [value or "" for name, value in attrs if name in ("src", "href") and tag != "use"]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_first_hits_of_a_hybrid_system_are_those_of_a_user(index: Path) -> None:
    """The longer ranking that is scored has more candidates, and so other first hits."""
    with T1Embedder.load("t1-mini") as mini, T1VectorStore.open(index, mini) as store:
        system = T1System("hybrid", store, {"think": False}, hybrid=True, fusion="dbsf")
        task = Benchmark("one", None, {"q": "what is mined in Peru"}, {"q": {"peru/resources": 1}})
        asked: list[int] = []
        search = store.collection.search

        def watched(vector: Any, **options: Any) -> Any:
            asked.append(options["limit"])
            hits = search(vector, **options)
            return hits[::-1] if options["limit"] > 10 else hits

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store.collection, "search", watched)
            [answer] = system.answer(task, 20).values()
        user = store.search("what is mined in Peru", think=False, hybrid=True, fusion="dbsf").hits
        assert asked == [10, 20]
        assert list(answer.ranking)[:10] == [hit.document_id for hit in user]
