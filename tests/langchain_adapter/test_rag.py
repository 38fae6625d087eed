"""``integrations/langchain_rag.py``, with the bundled model."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import FakeListChatModel

from integrations.langchain_rag import main

QUESTION = "what do the factories of the biggest customer of the nation ruled from Oslo make"


@pytest.fixture
def docs(tmp_path: Path) -> str:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "norway.md").write_text("Leading exports of Norway: natural gas, petroleum. Oslo is its capital.")
    (folder / "germany.md").write_text("Industry in Germany: iron, steel, cars. \x1b[31mRed\x1b[0m is a colour.")
    (folder / "chad.txt").write_text("The climate of Chad is dry.")
    return str(folder)


def test_thought_answer_and_sources_are_printed(docs: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([docs, QUESTION, "-k", "2"]) == 0
    printed = capsys.readouterr().out
    assert "indexed  3 passages, 0 unchanged" in printed
    assert "thought  oslo is the capital of norway." in printed
    assert "Industry in Germany: iron, steel, cars. [1]" in printed
    assert re.search(r"  \[1\] 0\.[5-9]\d*  germany\.md", printed)
    assert "\x1b" not in printed


def test_the_index_is_reused_and_a_chat_model_answers(
    docs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts: list[str] = []

    class Listener(BaseCallbackHandler):
        def on_chat_model_start(self, serialized: object, messages: object, **_: object) -> None:
            prompts.append(str(messages))

    model = FakeListChatModel(responses=["Cars [1]."], callbacks=[Listener()])
    arguments = [docs, QUESTION, "--index", str(tmp_path / "index")]
    assert main(arguments, chat_model=model) == 0
    assert "answer   Cars [1]." in capsys.readouterr().out
    assert "[1] Industry in Germany" in prompts[0]
    assert QUESTION in prompts[0]
    assert main([*arguments, "--no-think"], chat_model=model) == 0
    printed = capsys.readouterr().out
    assert "indexed  0 passages, 3 unchanged" in printed
    assert "thought" not in printed


def test_a_chat_model_can_be_chosen_by_name(
    docs: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def named(name: str) -> FakeListChatModel:
        assert name == "provider:name"
        return FakeListChatModel(responses=["By name [1]."])

    monkeypatch.setitem(sys.modules, "langchain", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "langchain.chat_models", SimpleNamespace(init_chat_model=named))
    assert main([docs, QUESTION, "--chat-model", "provider:name"]) == 0
    assert "By name [1]." in capsys.readouterr().out


def test_errors_are_printed_in_one_line(
    docs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "langchain", None)
    (tmp_path / "empty").mkdir()
    for arguments, complaint in (
        ([docs, QUESTION, "--chat-model", "openai:x"], "pip install langchain langchain-openai"),
        ([docs, " "], "only white space"),
        ([f"{docs}/nowhere", QUESTION], "no such file or folder"),
        ([docs, QUESTION, "--model", str(tmp_path / "empty")], "empty"),
    ):
        assert main(arguments) == 1
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert complaint in error
        assert error.count("\n") == 1
    with pytest.raises(SystemExit):
        main([docs, QUESTION, "-k", "0"])


def test_files_that_cannot_be_read_are_named_and_the_others_are_searched(
    docs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (Path(docs) / "picture.png").write_text("pass")
    (Path(docs) / "broken.txt").write_bytes(b"a\x00b\xff\xfe\xfd")
    assert main([docs, QUESTION]) == 0
    captured = capsys.readouterr()
    assert re.search(r"^left out \S+picture\.png: ", captured.out, re.MULTILINE)
    assert re.search(r"^left out \S+broken\.txt: ", captured.out, re.MULTILINE)
    assert "Industry in Germany" in captured.out
    assert captured.err == ""


def test_folder_without_a_document_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "picture.png").write_text("pass")
    assert main([str(tmp_path), QUESTION]) == 1
    assert "can be searched" in capsys.readouterr().err


def test_sample_folder_answers_the_question_of_the_readme(capsys: pytest.CaptureFixture[str]) -> None:
    integrations = Path(__file__).parents[2] / "integrations"
    assert QUESTION in (integrations / "README.md").read_text()
    assert main([str(integrations / "sample"), QUESTION, "-k", "1"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"  \[1\] 0\.[5-9]\d*  germany\.md", printed)
