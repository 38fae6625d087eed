"""Tokens chosen with numpy are those chosen with torch, which needs no llama.cpp to compare."""

from __future__ import annotations

import pytest
import torch

from t1_vectorstore.backends.decoding import next_tokens
from t1_vectorstore.backends.llama_cpp.sampling import next_token, uniform_draws
from t1_vectorstore.checkpoints.spec import Decoding


@pytest.mark.parametrize("seed", [0, 1, 2**31, 2**32 + 5, 2**62 - 1])
def test_random_numbers_are_torchs(seed: int) -> None:
    for count in (1, 7, 300):
        expected = torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        assert uniform_draws(seed, count).tolist() == expected.tolist()


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0.0},
        {"temperature": 1.0},
        {"temperature": 0.3},
        {"temperature": 1.0, "top_k": 5},
        {"temperature": 1.0, "top_k": 5000},
        {"temperature": 0.7, "top_p": 0.8},
        {"temperature": 2.0, "top_k": 50, "top_p": 0.5},
        {"temperature": 1.0, "top_p": 0.001},
    ],
    ids=str,
)
def test_tokens_are_those_of_torch(options: dict[str, float]) -> None:
    decoding = Decoding(**options)  # type: ignore[arg-type]
    logits = torch.randn(200, 1000, generator=torch.Generator().manual_seed(0)) * 3
    if decoding.top_p == 1:
        logits[:20] = logits[:20].round()  # with ties, which a nucleus may divide
    draws = None if decoding.temperature == 0 else torch.from_numpy(uniform_draws(3, 200))
    expected = next_tokens(logits, decoding, draws).tolist()
    rows = logits.numpy()
    chosen = [next_token(row, decoding, None if draws is None else float(draws[at])) for at, row in enumerate(rows)]
    assert chosen == expected
