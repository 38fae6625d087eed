"""Logits of models that change them after the last matrix are those of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from t1_vectorstore import T1Embedder
from t1_vectorstore.backends.logits import head_of
from tests.checkpoints import save_checkpoint

FAMILIES: dict[str, dict[str, Any]] = {
    "granite": {"logits_scaling": 8.0},
    "cohere": {"logit_scale": 0.0625},
    "gemma2": {"final_logit_softcapping": 2.0, "sliding_window": 16, "query_pre_attn_scalar": 16},
    "qwen3": {},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_those_of_transformers(tmp_path: Path, family: str) -> None:
    folder = save_checkpoint(tmp_path, model_type=family, all_random=True, **FAMILIES[family])
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = torch.tensor([[5, 9, 12, 7]])
    with torch.no_grad():
        states = model.get_decoder()(input_ids=ids).last_hidden_state
        expected = model(input_ids=ids).logits
        assert torch.allclose(head_of(model)(states), expected, atol=1e-5)
        if FAMILIES[family]:
            assert not torch.allclose(model.get_output_embeddings()(states), expected, atol=1e-2)


def test_sampled_thoughts_follow_the_scale(tmp_path: Path) -> None:
    """Logits that are divided by a large number choose among all tokens alike."""
    options = {"decoding": {"max_tokens": 30, "temperature": 1.0}}
    texts = []
    for scale in (1.0, 1000.0):
        folder = save_checkpoint(tmp_path / str(scale), model_type="granite", all_random=True, logits_scaling=scale)
        embedder = T1Embedder.load(folder, dtype="float32", overrides=options)
        texts.append([each.thoughts[0].text for each in embedder.embed_queries(["one", "two", "three"])])
    assert texts[0] != texts[1]
