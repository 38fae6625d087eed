"""Files and models for the tests of llama.cpp."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from t1_vectorstore import T1Embedder
from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from tests.backends.contract import save_model


@pytest.fixture(scope="session")
def llama_cpp() -> None:
    """Skip without llama.cpp, but fail if ``T1_REQUIRE_LLAMA_CPP`` is set, as by make test-llama-cpp."""
    if find_spec("llama_cpp") is None:
        if os.environ.get("T1_REQUIRE_LLAMA_CPP") == "1":
            pytest.fail("llama-cpp-python is not installed")
        pytest.skip("llama-cpp-python is not installed; run make test-llama-cpp")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("contract"))


@pytest.fixture(scope="session")
def file(llama_cpp: None, folder: Path) -> Path:
    from t1_vectorstore.export.writing import write_gguf

    write_gguf(Checkpoint.load(folder), folder / "model.gguf", "f32")
    return folder / "model.gguf"


@pytest.fixture(scope="session")
def reference(folder: Path) -> T1Embedder:
    return T1Embedder.load(folder, dtype="float32")


@pytest.fixture(scope="module")
def embedder(file: Path) -> Iterator[T1Embedder]:
    with T1Embedder.load(file) as embedder:
        yield embedder
