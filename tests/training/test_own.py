"""Training data of a user's own documents, written by a chat model that a stub stands for."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from t1_vectorstore.errors import CorpusError, T1Error
from t1_vectorstore.training.examples import read_data
from t1_vectorstore.training.sources import own

ENDPOINT = own.Endpoint("http://stub/v1/", "writer", "key")


class Writer:
    """A chat model that asks about the first passage it is shown, and counts its calls."""

    def __init__(self, answer: str | None = None, fails_at: int | None = None) -> None:
        self.calls: list[dict[str, Any]] = []
        self._answer, self._fails_at = answer, fails_at

    def __call__(self, request: httpx.Request) -> httpx.Response:
        assert str(request.url) == "http://stub/v1/chat/completions"
        assert request.headers["authorization"] == "Bearer key"
        if len(self.calls) == self._fails_at:
            return httpx.Response(503)
        self.calls.append(json.loads(request.content))
        first, *_ = re.findall(r"^\[(.+?)\]", self.calls[-1]["messages"][0]["content"], re.MULTILINE)
        number = int(first[1:])
        good = {
            "query": f"whereabouts of creature {first}",
            "thought": f"it is name{number}.",
            "positives": [first],
        }
        bad = [
            good,  # a repetition
            {**good, "query": "who made this identifier up", "positives": ["elsewhere"]},
            {**good, "query": "llama lives somewhere in highlands"},  # a copy
            {**good, "query": "no thought here", "thought": ""},
            {**good, "query": f"another creature is {first}", "thought": f"it is name{(number + 1) % 12}."},
            {**good, "query": f"a third creature, {first}", "thought": "nobody could know where."},
            "no query",
        ]
        text = self._answer or "Here you are:\n" + json.dumps({"queries": [good, *bad]})
        return httpx.Response(200, json={"choices": [{"message": {"content": text}}]})

    def build(self, source: Path, out: Path, **options: Any) -> dict[str, int]:
        return own.build(source, out, ENDPOINT, transport=httpx.MockTransport(self), **options)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.jsonl"
    lines = [{"id": f"d{n}", "text": f"llama lives somewhere in highlands, name{n}, herd{n // 3}"} for n in range(12)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_what_can_be_used_is_kept_once(corpus: Path, tmp_path: Path) -> None:
    writer = Writer()
    counts = writer.build(corpus, tmp_path / "out", calls=12)
    assert counts == {"corpus": 12, "train": 10, "dev": 2, "refused": 60, own.ASTRAY: 24}
    example = read_data(tmp_path / "out").examples[0]
    assert example.thought == f"it is name{example.positives[0][1:]}."
    herd = int(example.positives[0][1:]) // 3
    assert (
        sum(int(name[1:]) // 3 == herd for name in example.negatives) == 2
    )  # what shares a rare word is shown with it


def test_an_interrupted_run_goes_on_and_pays_nothing_twice(corpus: Path, tmp_path: Path) -> None:
    writer = Writer(fails_at=5)
    with pytest.raises(T1Error, match=r"503.*run the same command again"):
        writer.build(corpus, tmp_path / "out", calls=12, at_once=1)
    assert len(writer.calls) == 5
    with (tmp_path / "out" / own.ANSWERS).open("a") as file:
        file.write('{"shown": ["d')  # cut off by a kill
    again = Writer()
    assert again.build(corpus, tmp_path / "out", calls=12)["train"] == 10
    assert len(again.calls) == 7
    assert Writer(fails_at=0).build(corpus, tmp_path / "out", calls=12)["train"] == 10


def test_the_budget_is_kept(corpus: Path, tmp_path: Path) -> None:
    writer = Writer()
    writer.build(corpus, tmp_path / "out", calls=3)
    assert len(writer.calls) == 3


def test_thoughts_that_lead_elsewhere_may_be_kept(corpus: Path, tmp_path: Path) -> None:
    counts = Writer().build(corpus, tmp_path / "out", calls=12, found_within=0)
    assert counts == {"corpus": 12, "train": 32, "dev": 4, "refused": 60, own.ASTRAY: 0}
    again = Writer()
    assert again.build(corpus, tmp_path / "out", calls=12)[own.ASTRAY] == 24  # by another rule, of the same answers
    assert again.calls == []


def test_a_document_has_to_be_among_the_first(corpus: Path, tmp_path: Path) -> None:
    herd = {"query": "whereabouts of these creatures", "thought": "they are of herd0.", "positives": ["d0", "d1", "d2"]}
    far = {**herd, "query": "whereabouts of another one", "thought": "it is name5 of herd0.", "positives": ["d0"]}
    writer = Writer(json.dumps({"queries": [herd, far]}))
    options: dict[str, Any] = {"calls": 12, "seed": 0}
    assert writer.build(corpus, tmp_path / "out", **options, found_within=1)[own.ASTRAY] == 1
    assert writer.build(corpus, tmp_path / "out", **options, found_within=4)[own.ASTRAY] == 0
    with pytest.raises(ValueError, match="got -1"):
        writer.build(corpus, tmp_path / "out", **options, found_within=-1)


def test_no_thought_finds_anything(corpus: Path, tmp_path: Path) -> None:
    lost = json.dumps({"queries": [{"query": "whereabouts of it", "thought": "who knows.", "positives": ["d0"]}]})
    with pytest.raises(
        T1Error, match=r"of 12 queries.*the thoughts of 1 do not find their documents, and found_within=0"
    ):
        Writer(lost).build(corpus, tmp_path / "out")


@pytest.mark.parametrize("answer", ["I cannot do that.", '{"queries": 3}', "{broken}"])
def test_answers_without_queries_are_told(corpus: Path, tmp_path: Path, answer: str) -> None:
    with pytest.raises(T1Error, match="nothing that writer wrote can be used, of 12"):
        Writer(answer).build(corpus, tmp_path / "out")


def test_one_document_makes_no_chains(tmp_path: Path) -> None:
    (tmp_path / "one.jsonl").write_text('{"id": "a", "text": "alone"}\n')
    with pytest.raises(CorpusError, match="at least two"):
        Writer().build(tmp_path / "one.jsonl", tmp_path / "out")
