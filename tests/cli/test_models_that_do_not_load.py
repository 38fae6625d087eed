"""A model that cannot be had: said before it is downloaded where that can be told, and nothing is left behind."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from t1_vectorstore.cli.model_source import ModelSource
from typer.testing import CliRunner, Result

from t1_vectorstore.cli import app
from t1_vectorstore.cli.stores import open_for_model
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.errors import CheckpointError, MissingExtraError


def test_what_is_not_installed_is_said_before_the_hub_is_asked(
    folder: Path, corpus: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By commands that load a model; one that does not goes on without."""

    def t1(*command: str) -> Result:
        return CliRunner().invoke(app, command)

    source = corpus({"id": "a", "text": "one"})
    assert t1("index", source, "--to", "idx").exit_code == 0
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("the hub is asked"))
    monkeypatch.setitem(sys.modules, "torch", None)
    for command in (
        ["index", source, "--to", "new"],
        ["search", "idx", "llamas"],
        ["verify", source, "--index", "idx", "--vectors", "1"],
        ["reindex", "idx"],
        ["demo"],
    ):
        refused = t1(*command, "--model", "ForwardAILabs/MRE-T1")
        assert refused.exit_code == 1, refused.output
        assert "pip install 't1-vectorstore[local]'" in refused.stderr
    assert not (folder / "new").exists()
    assert t1("verify", source, "--index", "idx").exit_code == 0


def test_a_model_that_does_not_load_leaves_no_index_behind(
    run: Any, folder: Path, corpus: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever stops it, such as a library that is not installed. An index that is there stays as it is."""
    source = corpus({"id": "a", "text": "one"})
    run("index", source, "--to", "idx")

    def load(*_: str, **__: Any) -> T1Embedder:
        raise MissingExtraError("vllm", "the vLLM backend")

    monkeypatch.setattr(T1Embedder, "load", load)
    for to in ("new", "idx"):
        refused = run("index", source, "--to", to, "--backend", "vllm", code=1)
        assert "pip install 't1-vectorstore[vllm]'" in refused.stderr
    assert not (folder / "new").exists()
    assert "chunks      1" in run("info", "idx").stdout


@pytest.mark.parametrize(
    ("overrides", "damaged", "says"),
    [
        ({"max_document_tokens": 4096}, None, "takes only 2048 tokens"),
        ({}, "tokenizer.json", "cannot be read as a tok"),
    ],
)
def test_nor_does_one_for_workers_whose_files_are_wrong(
    tiny: Path, folder: Path, overrides: dict[str, Any], damaged: str | None, says: str
) -> None:
    model = shutil.copytree(tiny, folder / "model")
    if damaged:
        (model / damaged).write_text("{")
    with pytest.raises(CheckpointError, match=says):
        open_for_model("new", ModelSource(str(model), overrides=overrides), name="t1", api_key=None, making={})
    assert not (folder / "new").exists()
