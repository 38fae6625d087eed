"""The contract of all backends on vLLM itself: in this process, and on two servers."""

from __future__ import annotations

import pytest

from t1_vectorstore import T1Embedder
from tests.backends.contract import BackendContract

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("default"), pytest.mark.timeout(900)]


@pytest.fixture(scope="module", params=["in_process", "over_http"])
def embedder(request: pytest.FixtureRequest) -> T1Embedder:
    embedder: T1Embedder = request.getfixturevalue(request.param)
    return embedder


class TestVLLM(BackendContract):
    """The same assertions as for every other backend."""
