"""``t1 search INDEX`` without a query: several queries with one model, from a pipe or a terminal."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from t1_vectorstore.cli import app


@pytest.fixture
def index(run: Any, corpus: Any) -> str:
    run("index", corpus({"id": "a", "text": "Oslo is in Norway.", "year": 2001}, {"id": "b", "text": "Lima."}),
        "--to", "idx")  # fmt: skip
    return "idx"


def test_a_pipe_has_one_query_a_line_and_a_bad_line_does_not_end_it(index: str) -> None:
    lines = ["Norway", "", ":limit 1", "Norway", ":filter year=1900", "Norway", ":filter", ":wrong", ":limit x", "Lima"]
    done = CliRunner().invoke(app, ["search", index, "--json"], input="\n".join([*lines, ":quit", "never read"]))
    assert done.exit_code == 1  # two lines could not be answered
    decoder, text, answers = json.JSONDecoder(), done.stdout.strip(), []
    while text:
        answer, end = decoder.raw_decode(text)
        answers.append((answer["query"], len(answer["hits"])))
        text = text[end:].strip()
    assert answers == [("Norway", 2), ("Norway", 1), ("Norway", 0), ("Lima", 1)]
    assert "there is no command :wrong; :help lists them" in done.stderr
    assert ":limit takes a whole number of at least 1, got 'x'" in done.stderr


def test_good_lines_end_with_success(index: str) -> None:
    done = CliRunner().invoke(app, ["search", index, "--no-think"], input=":help\n:think\n:nothink\nNorway\n")
    assert done.exit_code == 0
    assert "Oslo is in Norway." in done.stdout
    assert ":filter KEY=VALUE" in done.stderr


def test_thinking_is_switched_between_queries(index: str) -> None:
    lines = ":think auto\nNorway\n:think\nNorway\n:nothink\nNorway\n:think often\n"
    done = CliRunner().invoke(app, ["search", index, "--json", "--budget", "4"], input=lines)
    decoder, text, decided = json.JSONDecoder(), done.stdout.strip(), []
    while text:
        answer, end = decoder.raw_decode(text)
        decided.append(answer["decision"] is not None)
        text = text[end:].strip()
    assert decided == [True, False]  # without a thought a budget is refused
    assert ":think takes nothing, or :think auto; got 'often'" in done.stderr


@pytest.mark.process
def test_a_terminal_gets_a_prompt_and_ends_with_ctrl_d(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text('{"id": "a", "text": "Oslo is in Norway."}\n', encoding="utf-8")
    t1 = [sys.executable, "-c", "import sys; from t1_vectorstore.cli import main; sys.argv[0] = 't1'; main()"]
    subprocess.run([*t1, "index", "corpus.jsonl", "--to", "idx"], cwd=tmp_path, check=True, capture_output=True)
    ours, theirs = pty.openpty()
    command = [*t1, "search", "idx"]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=tmp_path, close_fds=True) as child:
        os.close(theirs)
        shown = ""
        for prompts, answer in ((1, "Norway\n"), (2, "\x04")):
            deadline = time.monotonic() + 60
            while shown.count("t1> ") < prompts and time.monotonic() < deadline:
                try:
                    shown += os.read(ours, 4096).decode(errors="replace")
                except OSError as error:  # noqa: PERF203 - the other side was closed
                    raise AssertionError(shown) from error
            os.write(ours, answer.encode())
        assert "Oslo is in Norway." in shown
        assert child.wait(timeout=60) == 0
    os.close(ours)


def test_a_query_needs_no_quotes_and_may_begin_with_a_dash(index: str) -> None:
    for words in (["where", "is", "Oslo"], ["--", "-40 degrees in Oslo"]):
        done = CliRunner().invoke(app, ["search", index, "--json", *words])
        assert json.loads(done.stdout)["query"] == " ".join(words).removeprefix("-- ")


def test_errors_name_options_of_the_command_line(index: str, corpus: Any, run: Any) -> None:
    assert "t1 reindex --hybrid stores them" in run("search", index, "Oslo", "--hybrid", code=2).stderr
    again = run("index", corpus({"id": "a", "text": "x"}), "--to", index, "--hybrid", code=1).stderr
    assert "stores no words: leave --hybrid out, or run t1 reindex --hybrid" in again
    other = run(
        "index", corpus({"id": "a", "text": "x"}), "--to", index, "--index-field", "year=integer", code=1
    ).stderr
    assert "leave that out, or change it with t1 reindex" in other
