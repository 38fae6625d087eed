"""The contract of all backends, on those that run without vLLM: local, a stub of vLLM's servers, a T1 service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from t1_vectorstore import T1Embedder
from tests.backends.contract import BackendContract, save_model
from tests.backends.stub_vllm import stub_vllm
from tests.service.live import live


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("contract"))


@pytest.fixture(scope="module")
def reference(folder: Path) -> T1Embedder:
    return T1Embedder.load(folder, dtype="float32")


@pytest.fixture(scope="module", params=["transformers", "service", pytest.param("remote", marks=pytest.mark.thorough)])
def embedder(request: pytest.FixtureRequest, folder: Path, reference: T1Embedder) -> Iterator[T1Embedder]:
    if request.param == "transformers":
        yield T1Embedder.load(folder, dtype="float32", batch_tokens=700)
        return
    if request.param == "service":
        with live({}, embedders=[reference]) as service, T1Embedder.load(service.url) as embedder:
            yield embedder
        return
    with stub_vllm(reference) as stub:
        options = {"generate_url": stub.url, "embed_url": stub.url + "/", "batch": 7}
        embedder = T1Embedder.load(folder, backend="remote", engine_options=options)
        yield embedder
        embedder._backend.close()  # type: ignore[attr-defined]


class TestBackend(BackendContract):
    """The same assertions for each backend."""
