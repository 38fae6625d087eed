"""Training data from a user's own documents; a stub replaces the chat model."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from t1_vectorstore.errors import CorpusError, T1Error
from t1_vectorstore.training import own_data as own
from t1_vectorstore.training.examples import read_data

ENDPOINT = own.Endpoint("http://stub/v1/", "writer", "key")


class Writer:
    """A chat model that writes queries about the first passage of a call, and keeps the calls."""

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
    return write_corpus(tmp_path / "corpus.jsonl", 12)


def write_corpus(path: Path, count: int) -> Path:
    texts = [f"llama lives somewhere in highlands, name{n}, herd{n // 3}" for n in range(count)]
    path.write_text("".join(json.dumps({"id": f"d{n}", "text": text}) + "\n" for n, text in enumerate(texts)))
    return path


def test_usable_queries_are_kept_once(corpus: Path, tmp_path: Path) -> None:
    writer = Writer()
    counts = writer.build(corpus, tmp_path / "out", calls=12)
    assert counts == {"corpus": 12, "train": 10, "dev": 2, "refused": 60, own.MISLEADING: 24, own.STALE: 0}
    example = read_data(tmp_path / "out").examples[0]
    assert example.thought == f"it is name{example.positives[0][1:]}."
    herd = int(example.positives[0][1:]) // 3
    assert (
        sum(int(name[1:]) // 3 == herd for name in example.negatives) == 2
    )  # documents that share a rare word are shown together


def test_an_interrupted_run_continues_without_repeating_calls(corpus: Path, tmp_path: Path) -> None:
    writer = Writer(fails_at=5)
    with pytest.raises(T1Error, match=r"503.*run the same command again"):
        writer.build(corpus, tmp_path / "out", calls=12, at_once=1)
    assert len(writer.calls) == 5
    with (tmp_path / "out" / own.ANSWERS_FILE).open("a") as file:
        file.write('{"shown": ["d')  # an incomplete line, as after a kill
    again = Writer()
    assert again.build(corpus, tmp_path / "out", calls=12)["train"] == 10
    assert len(again.calls) == 7
    assert Writer(fails_at=0).build(corpus, tmp_path / "out", calls=12)["train"] == 10


def test_no_more_calls_than_the_budget_are_made(corpus: Path, tmp_path: Path) -> None:
    writer = Writer()
    writer.build(corpus, tmp_path / "out", calls=3)
    assert len(writer.calls) == 3


def test_answers_for_another_seed_count_against_the_budget(corpus: Path, tmp_path: Path) -> None:
    Writer().build(corpus, tmp_path / "out", calls=4)
    again = Writer()
    again.build(corpus, tmp_path / "out", calls=4, seed=5)
    assert again.calls == []
    again.build(corpus, tmp_path / "out", calls=7, seed=5)
    assert len(again.calls) == 3
    assert len((tmp_path / "out" / own.ANSWERS_FILE).read_text().splitlines()) == 7


def test_a_failed_call_loses_no_answer_of_concurrent_ones(corpus: Path, tmp_path: Path) -> None:
    only, others = Writer(), Writer()
    only.build(corpus, tmp_path / "only", calls=1)
    under_way, turn = threading.Barrier(4), threading.Lock()

    def first_fails(request: httpx.Request) -> httpx.Response:
        under_way.wait(timeout=60)
        if json.loads(request.content) == only.calls[0]:
            return httpx.Response(503)
        with turn:
            return others(request)

    with pytest.raises(T1Error, match="503"):
        own.build(corpus, tmp_path / "out", ENDPOINT, transport=httpx.MockTransport(first_fails), calls=4, at_once=4)
    again = Writer()
    again.build(corpus, tmp_path / "out", calls=4)
    assert len(others.calls) == 3
    assert again.calls == only.calls


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x85", "\r"])
def test_an_answer_can_contain_any_line_end(corpus: Path, tmp_path: Path, mark: str) -> None:
    query = {"query": "whereabouts of it", "thought": "it is name0.", "positives": ["d0"]}
    writer = Writer(f"Here{mark}you are:{json.dumps({'queries': [query]})}")
    counts = writer.build(corpus, tmp_path / "out", calls=12)
    kept = (tmp_path / "out" / own.ANSWERS_FILE).read_bytes()
    assert writer.build(corpus, tmp_path / "out", calls=12) == counts
    assert len(writer.calls) == 12
    assert (tmp_path / "out" / own.ANSWERS_FILE).read_bytes() == kept


def test_an_answer_with_a_lone_surrogate_is_kept(corpus: Path, tmp_path: Path) -> None:
    query = {"query": "whereabouts of it", "thought": "it is name0.", "positives": ["d0"]}
    text = json.dumps(json.dumps({"queries": [query]}) + "HALF").replace("HALF", "\\ud83d")

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, text=f'{{"choices": [{{"message": {{"content": {text}}}}}]}}')

    counts = own.build(corpus, tmp_path / "out", ENDPOINT, transport=httpx.MockTransport(answer))
    assert counts["train"] == 1


def test_an_incomplete_last_line_is_removed_and_a_missing_line_end_is_added(corpus: Path, tmp_path: Path) -> None:
    file = tmp_path / "out" / own.ANSWERS_FILE
    Writer().build(corpus, tmp_path / "out", calls=3)
    whole = file.read_bytes()
    for left, calls in ((whole[:-1], 0), (whole + '{"shown": ["é'.encode()[:-1], 0), (whole[:-2], 1)):
        file.write_bytes(left)
        again = Writer()
        again.build(corpus, tmp_path / "out", calls=3)
        assert len(again.calls) == calls
        assert file.read_bytes() == whole


def test_the_error_of_an_invalid_line_names_it_and_the_file_is_unchanged(corpus: Path, tmp_path: Path) -> None:
    file = tmp_path / "out" / own.ANSWERS_FILE
    Writer().build(corpus, tmp_path / "out", calls=2)
    wrong = file.read_text() + '{"shown": 3, "answer": "it"}\n{"sho'
    file.write_text(wrong)
    with pytest.raises(CorpusError, match=r"answers\.jsonl:3: not an answer of an earlier run: remove the line"):
        Writer(fails_at=0).build(corpus, tmp_path / "out", calls=9)
    assert file.read_text() == wrong


def test_answers_about_removed_documents_are_skipped_and_counted(tmp_path: Path) -> None:
    Writer().build(write_corpus(tmp_path / "corpus.jsonl", 12), tmp_path / "out", calls=12)
    again = Writer()
    counts = again.build(write_corpus(tmp_path / "corpus.jsonl", 9), tmp_path / "out", calls=12)
    assert again.calls == []
    answers = [json.loads(line)["shown"] for line in (tmp_path / "out" / own.ANSWERS_FILE).read_text().splitlines()]
    lost = [shown for shown in answers if {"d9", "d10", "d11"} & set(shown)]
    assert counts[own.STALE] == len(lost) > 0
    assert counts["train"] + counts["dev"] == 12 - len(lost) > 0
    (tmp_path / "others.jsonl").write_text('{"id": "a", "text": "one"}\n{"id": "b", "text": "two"}\n')
    with pytest.raises(
        T1Error, match=r"the 0 queries.*12 more answers are about documents that .* no longer has, or has"
    ):
        again.build(tmp_path / "others.jsonl", tmp_path / "out", calls=12)


def test_changed_documents_are_asked_about_again(corpus: Path, tmp_path: Path) -> None:
    Writer().build(corpus, tmp_path / "out", calls=12)
    file = tmp_path / "out" / own.ANSWERS_FILE
    about = [line for line in file.read_text().splitlines() if "d3" in json.loads(line)["shown"]]
    corpus.write_text(corpus.read_text().replace("name3", "name3 of late"))
    again = Writer()
    counts = again.build(corpus, tmp_path / "out", calls=12 + len(about))
    assert counts[own.STALE] == len(about) == len(again.calls) > 0
    assert all("name3 of late" in call["messages"][0]["content"] for call in again.calls)
    assert counts["train"] + counts["dev"] == 12
    old = [{k: v for k, v in json.loads(line).items() if k != "digest"} for line in file.read_text().splitlines()]
    file.write_text("".join(json.dumps(record) + "\n" for record in old))  # as older versions wrote them
    assert Writer().build(corpus, tmp_path / "out", calls=12)[own.STALE] == 0


def test_a_folder_with_other_files_is_refused(corpus: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "train.jsonl").write_text("{}")
    for out in (other, other / "train.jsonl"):
        with pytest.raises(ValueError, match="is not an empty folder"):
            Writer(fails_at=0).build(corpus, out)
    assert [path.name for path in other.iterdir()] == ["train.jsonl"]


def test_the_documents_are_never_overwritten(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / own.ANSWERS_FILE).touch()
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    before = corpus.read_bytes()
    for source, out in (
        (corpus, tmp_path),
        (tmp_path, tmp_path),
        (corpus, tmp_path / "link"),
        (tmp_path / "link" / corpus.name, tmp_path),
    ):
        with pytest.raises(ValueError, match=r"contains the documents .* choose another folder"):
            Writer(fails_at=0).build(source, out)
    assert corpus.read_bytes() == before


def test_misleading_thoughts_can_be_kept(corpus: Path, tmp_path: Path) -> None:
    counts = Writer().build(corpus, tmp_path / "out", calls=12, found_within=0)
    assert counts == {"corpus": 12, "train": 32, "dev": 4, "refused": 60, own.MISLEADING: 0, own.STALE: 0}
    again = Writer()
    assert again.build(corpus, tmp_path / "out", calls=12)[own.MISLEADING] == 24  # the same answers with another limit
    assert again.calls == []


def test_a_relevant_document_must_be_among_the_first_hits(corpus: Path, tmp_path: Path) -> None:
    herd = {"query": "whereabouts of these creatures", "thought": "they are of herd0.", "positives": ["d0", "d1", "d2"]}
    far = {**herd, "query": "whereabouts of another one", "thought": "it is name5 of herd0.", "positives": ["d0"]}
    writer = Writer(json.dumps({"queries": [herd, far]}))
    options: dict[str, Any] = {"calls": 12, "seed": 0}
    assert writer.build(corpus, tmp_path / "out", **options, found_within=1)[own.MISLEADING] == 1
    assert writer.build(corpus, tmp_path / "out", **options, found_within=4)[own.MISLEADING] == 0
    with pytest.raises(ValueError, match="got -1"):
        writer.build(corpus, tmp_path / "out", **options, found_within=-1)


def test_the_error_of_misleading_thoughts_names_the_option(corpus: Path, tmp_path: Path) -> None:
    lost = json.dumps({"queries": [{"query": "whereabouts of it", "thought": "who knows.", "positives": ["d0"]}]})
    with pytest.raises(
        T1Error, match=r"the 12 queries.*the thoughts of 1 do not find their documents, and found_within=0"
    ):
        Writer(lost).build(corpus, tmp_path / "out")


@pytest.mark.parametrize("answer", ["I cannot do that.", '{"queries": 3}', "{broken}"])
def test_answers_without_queries_raise_an_error(corpus: Path, tmp_path: Path, answer: str) -> None:
    with pytest.raises(T1Error, match="none of the 12 queries by writer is usable"):
        Writer(answer).build(corpus, tmp_path / "out")


def test_a_single_document_is_refused(tmp_path: Path) -> None:
    (tmp_path / "one.jsonl").write_text('{"id": "a", "text": "alone"}\n')
    with pytest.raises(CorpusError, match="at least two"):
        Writer().build(tmp_path / "one.jsonl", tmp_path / "out")
