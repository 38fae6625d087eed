"""The contract of all backends on llama.cpp: with default options, and with small batches and caches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from t1_vectorstore import T1Embedder
from tests.backends.contract import BackendContract

pytestmark = pytest.mark.llama_cpp

SMALL: dict[str, Any] = {"batch_tokens": 50, "engine_options": {"n_seq_max": 3, "cache_type": "f32"}}


@pytest.fixture(scope="module", params=[{}, SMALL], ids=["default", "small"])
def embedder(request: pytest.FixtureRequest, file: Path) -> Iterator[T1Embedder]:
    with T1Embedder.load(file, **request.param) as embedder:
        yield embedder


class TestLlamaCpp(BackendContract):
    """The same assertions as for every other backend."""

    def test_identity_does_not_depend_on_the_backend(self, embedder: T1Embedder, reference: T1Embedder) -> None:
        pytest.skip("a GGUF file is another model than the one it was made from")
