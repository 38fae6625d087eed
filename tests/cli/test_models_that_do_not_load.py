"""Models that do not load: the error comes before a download where possible, and no index is left behind."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from t1_vectorstore.cli import app
from t1_vectorstore.cli.stores import open_with_checkpoint
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.errors import CheckpointError, MissingExtraError
from t1_vectorstore.options import ModelOptions


def test_missing_package_is_reported_before_a_download(
    folder: Path, corpus: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands that load no model do not need the package."""

    def t1(*command: str) -> Result:
        return CliRunner().invoke(app, command)

    source = corpus({"id": "a", "text": "one"})
    assert t1("index", source, "--to", "idx").exit_code == 0
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("a download"))
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


def test_model_that_does_not_load_leaves_no_index_behind(
    run: Any, folder: Path, corpus: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the error, such as a missing package. An existing index stays as it is."""
    source = corpus({"id": "a", "text": "one"})
    run("index", source, "--to", "idx")

    def load(*_: object) -> T1Embedder:
        raise MissingExtraError("vllm", "the vLLM backend")

    monkeypatch.setattr(T1Embedder, "from_options", load)
    for to in ("new", "idx"):
        refused = run("index", source, "--to", to, "--backend", "vllm", code=1)
        assert "pip install 't1-vectorstore[vllm]'" in refused.stderr
    assert not (folder / "new").exists()
    assert "chunks      1" in run("info", "idx").stdout


@pytest.mark.parametrize(
    ("overrides", "damaged", "message"),
    [
        ({"max_document_tokens": 4096}, None, "max_document_tokens=4096, but .* accepts only 2048 tokens"),
        ({}, "tokenizer.json", "cannot be read as a tok"),
    ],
)
def test_wrong_files_are_reported_before_workers_start(
    tiny: Path, folder: Path, overrides: dict[str, Any], damaged: str | None, message: str
) -> None:
    model = shutil.copytree(tiny, folder / "model")
    if damaged:
        (model / damaged).write_text("{")
    options = ModelOptions(model=str(model), overrides=overrides)
    with pytest.raises(CheckpointError, match=message), open_with_checkpoint("new", options, create={}):
        pytest.fail("the model is usable")
    assert not (folder / "new").exists()
