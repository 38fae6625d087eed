"""``t1 calibrate``: the threshold of adaptive thinking, from made-up figures and with the bundled model."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from t1_vectorstore.cli import app
from t1_vectorstore.cli.demo import QUERIES
from t1_vectorstore.collection import Collection
from t1_vectorstore.evaluation.trade_off import AskedTwice, TradeOff, cheapest, curve, held_out, measure, table
from tests.evaluation import small_benchmark


def asked(score: float, plain: float, thinking: float, tokens: int = 10) -> AskedTwice:
    return AskedTwice(score, plain, thinking, tokens)


SURE = [asked(0.1 + n / 1000, 1, 1) for n in range(10)]
UNSURE = [asked(0.8 + n / 1000, 0, 1, 30) for n in range(10)]


def t1(*arguments: str | Path, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


def test_the_curve_goes_from_never_to_always() -> None:
    queries = [asked(random.random(), random.random(), random.random(), random.randrange(9)) for _ in range(50)]
    points = curve(queries)
    assert (points[0].threshold, points[0].queries, points[0].tokens) == (1, 0, 0)
    assert (points[-1].threshold, points[-1].queries, points[-1].tokens) == (0, 1, 1)
    assert points[-1].quality == pytest.approx(1)
    assert [point.threshold for point in points] == sorted({point.threshold for point in points}, reverse=True)
    for point in points:
        again = measure(queries, point.threshold)
        assert (again.queries, again.tokens) == (point.queries, point.tokens)
        assert again.quality == pytest.approx(point.quality)
    assert len(curve([asked(0.5, 0, 1)] * 4)) == 2  # equal scores cannot be told apart


def test_the_cheapest_threshold_that_keeps_the_quality() -> None:
    points = curve([*SURE, *UNSURE])
    chosen = cheapest(points, 0.97)
    assert 0.1 < chosen.threshold < 0.8
    assert (chosen.queries, chosen.quality, chosen.tokens) == (0.5, 1, 0.75)
    assert cheapest(points, 0.5) == points[0]  # half of the quality needs no thought
    assert cheapest(curve([asked(0.3, 1, 0.5)] * 5), 0.97).threshold == 1  # thinking is worse
    assert cheapest(curve([asked(0.3, 0, 1)] * 5), 0.97).threshold == 0  # nothing can be saved
    expected = held_out([*SURE, *UNSURE], 0.97)
    assert (expected.quality, expected.tokens) == (1, 0.75)


def test_shares_of_nothing() -> None:
    nothing = curve([asked(0.3, 0, 0, 0)])
    assert [(point.quality, point.tokens) for point in nothing] == [(1, 1), (1, 1)]


def test_the_table_shows_the_ends_and_the_chosen_point() -> None:
    points = curve([*SURE, *UNSURE])
    chosen = cheapest(points, 0.97)
    lines = table(points, chosen, rows=4).splitlines()
    assert lines[2].startswith("| 1 (never) | 0% | 0% | 50.0% |")
    assert lines[-1].startswith("| 0 (always) | 100% | 100% | 100.0% |")
    assert [line for line in lines if "**chosen** | 50% | 75% | 100.0%" in line]
    assert len(lines) <= 2 + 2 + 3 + 1
    assert isinstance(points[0], TradeOff)


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The queries of the demo, each also in another spelling, since 20 are needed; as a folder and as files."""
    folder = small_benchmark.write(tmp_path_factory.mktemp("benchmarks") / "questions")
    demo = [json.loads(line) for line in QUERIES.read_text(encoding="utf-8").splitlines()]
    asked = [(spelt, query["gold"]) for query in demo for spelt in (query["query"], query["query"].upper())]
    (folder / "asked.txt").write_text("\n".join(query for query, _ in asked) + "\n\n", encoding="utf-8")
    judged = [{"query": query, "positives": [gold]} for query, gold in asked]
    for name, records in (("judged", judged), ("asked", [{"query": query} for query, _ in asked])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records), encoding="utf-8")
    (folder / "queries.dev.jsonl").write_text(
        "".join(json.dumps({"_id": f"q{at}", "text": query}) + "\n" for at, (query, _) in enumerate(asked)),
        encoding="utf-8",
    )
    qrels = ["query-id\tcorpus-id\tscore", *(f"q{at}\t{gold}\t1" for at, (_, gold) in enumerate(asked))]
    (folder / "qrels" / "dev.tsv").write_text("\n".join(qrels) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module", params=["vector", pytest.param("hybrid", marks=pytest.mark.thorough)])
def index(request: pytest.FixtureRequest, questions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("index") / "index"
    hybrid = ["--hybrid"] if request.param == "hybrid" else []
    t1("index", questions / "corpus.jsonl", "--to", place, *hybrid)
    return place


@pytest.mark.thorough
def test_judged_queries(index: Path, questions: Path, tmp_path: Path) -> None:
    found: list[dict[str, Any]] = []
    for given in ([questions / "judged.jsonl"], [questions, "--split", "dev"]):
        found.append(json.loads(t1("calibrate", index, *given, "--json").stdout))
        del found[-1]["calibration"]["fitted"]
    assert found[0] == found[1]
    assert found[0]["calibration"]["labelled"] is True
    assert found[0]["calibration"]["queries"] == 24
    assert found[0]["chosen"]["quality"] >= 0.97
    shown = t1("calibrate", index, questions / "judged.jsonl", "--keep", "0.9", "--plot", tmp_path / "curve.png")
    assert "24 queries, judged by nDCG@10, t1-mini" in shown.stdout
    assert "--think-auto --think-threshold" in shown.stdout
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    with Collection.open(index) as collection:
        assert collection.calibration is None


@pytest.mark.parametrize("name", ["asked.txt", pytest.param("asked.jsonl", marks=pytest.mark.thorough)])
def test_queries_without_judgements_are_saved_and_used(index: Path, questions: Path, name: str) -> None:
    done = t1("calibrate", index, questions / name, "--save", "--budget", "60")
    assert "judged by agreement with always thinking" in done.stdout
    assert f"saved: {index} now thinks from a score of " in done.stderr
    with Collection.open(index) as collection:
        calibration = collection.calibration
    assert calibration is not None
    assert (calibration.queries, calibration.labelled) == (24, False)
    answer = json.loads(t1("search", index, "what is mined in Peru", "--think-auto", "--json").stdout)
    assert answer["decision"]["threshold"] == calibration.threshold
    assert f"think auto  from a score of {calibration.threshold:.3f} on" in t1("info", index).stdout


def test_mistakes_are_refused(index: Path, questions: Path, tmp_path: Path) -> None:
    few, none = tmp_path / "few.txt", tmp_path / "none.txt"
    few.write_text("one\ntwo\n")
    none.write_text("\n")
    for arguments, code, message in (
        ([few], 2, "calibration needs at least 20 queries, got 2"),
        ([none], 1, "has no queries"),
        ([tmp_path / "missing.txt"], 2, "does not exist"),
        ([questions, "--split", "train"], 1, "lacks that split"),
        ([questions / "asked.txt", "--plot", tmp_path / "curve.svg"], 2, "ends with .png"),
        ([questions / "asked.txt", "--plot", tmp_path / "no" / "curve.png"], 2, "folder that does not exist"),
        ([questions / "asked.txt", "--override", "thinks=false"], 2, "does not generate thoughts"),
    ):
        assert message in t1("calibrate", index, *arguments, code=code).stderr
