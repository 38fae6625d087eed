"""One engine and one pair of servers for all tests of vLLM, as each takes half a minute to start."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from t1_vectorstore import T1Embedder
from tests.backends.contract import save_model
from tests.vllm_backend.servers import running_servers

ENGINE_OPTIONS = {"enforce_eager": True, "max_num_seqs": 16}


@pytest.fixture(scope="session")
def vllm() -> None:
    """Skip the tests if vLLM is not installed, but fail if ``T1_REQUIRE_VLLM`` is set, as by make test-vllm."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import vllm  # noqa: F401
        except ImportError as error:
            if os.environ.get("T1_REQUIRE_VLLM") == "1":
                pytest.fail(f"vLLM cannot be imported: {error}")
            pytest.skip(f"vLLM cannot be imported: {error}; run make test-vllm")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_model(tmp_path_factory.mktemp("contract"))
    # The servers load the tokenizer with transformers, which needs its class.
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    return folder


@pytest.fixture(scope="session")
def reference(folder: Path) -> T1Embedder:
    return T1Embedder.load(folder, dtype="float32")


@pytest.fixture(scope="session")
def in_process(vllm: None, folder: Path) -> Iterator[T1Embedder]:
    embedder = T1Embedder.load(folder, dtype="float32", backend="vllm", engine_options=ENGINE_OPTIONS)
    yield embedder
    embedder._backend.close()  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def over_http(vllm: None, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[T1Embedder]:
    with running_servers(folder, tmp_path_factory.mktemp("logs")) as (generate_url, embed_url):
        options = {"generate_url": generate_url, "embed_url": embed_url, "api_key": "secret"}
        embedder = T1Embedder.load(folder, backend="remote", engine_options=options)
        yield embedder
        embedder._backend.close()  # type: ignore[attr-defined]
