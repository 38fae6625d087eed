"""Stage 3 samples the thoughts that serving generates, with the probabilities that transformers computes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.embedding.prompts import Prompter
from t1_vectorstore.training.model import T1ForTraining, load_checkpoint
from t1_vectorstore.training.policy import ThoughtSampler, log_probabilities
from tests.checkpoints import save_checkpoint

QUERIES = ["a", "a much longer query", "why"]
FAMILIES = {"decoder": "qwen3", "transformers": "mistral"}


def make_sampler(folder: Path, temperature: float = 1.0) -> tuple[T1ForTraining, ThoughtSampler, list[list[int]]]:
    checkpoint = Checkpoint.load(folder)
    model, prompter = T1ForTraining(load_checkpoint(folder)[0]), Prompter.load(checkpoint)
    prompts = [prompt.ids for prompt in prompter.queries(QUERIES, think=True)]
    return model, ThoughtSampler(model, checkpoint.config, prompter, temperature), prompts


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_sampled_thoughts_equal_served_ones(family: str, tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path, closes=3.0, model_type=family)
    dtype = "auto" if family == "qwen3" else "float32"  # transformers models are sampled in their training type
    options = {"temperature": 0.7, "seed": 5}
    served = T1Embedder.load(folder, overrides={"decoding": options}, dtype=dtype)
    expected = served.embed_queries(QUERIES, samples=4)
    _, sampler, prompts = make_sampler(folder, 0.7)
    found = sampler(prompts, 4, 5)
    assert [len(t.ids) for t in found] == [t.tokens for e in expected for t in e.thoughts]
    assert [t.stop for t in found] == [t.stop for e in expected for t in e.thoughts]
    assert all((t.closing is not None) == (t.stop in ("emb_token", "end_token")) for t in found)


def test_a_sampler_uses_the_current_weights(tmp_path: Path) -> None:
    model, sampler, prompts = make_sampler(save_checkpoint(tmp_path, closes=-3.0))
    before = sampler(prompts, 2, 0)
    assert [t.ids for t in sampler(prompts, 2, 0)] == [t.ids for t in before]
    with torch.no_grad():
        model.causal.get_output_embeddings().weight.mul_(-1.0)
    assert [t.ids for t in sampler(prompts, 2, 0)] != [t.ids for t in before]


def test_log_probabilities_equal_those_of_single_sequences(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path)
    rows = [([1, 40, 41, 42], [50, 51, 4]), ([43], [60]), ([44, 45], [70, 71, 72, 73, 74])]
    width, kept = max(len(before) for before, _ in rows), max(len(after) for _, after in rows)
    ids, mask = torch.zeros(3, width + kept, dtype=torch.long), torch.zeros(3, width + kept, dtype=torch.long)
    for at, (before, after) in enumerate(rows):
        where = slice(width - len(before), width + len(after))
        ids[at, where], mask[at, where] = torch.tensor(before + after), 1
    model = T1ForTraining(load_checkpoint(folder)[0])
    found, entropies = log_probabilities(model.language_model, ids, mask, kept, 0.8)

    reference = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for at, (before, after) in enumerate(rows):
        logits = reference(torch.tensor([before + after])).logits[0, len(before) - 1 : -1] / 0.8
        shares = torch.distributions.Categorical(logits=logits)
        torch.testing.assert_close(found[at, : len(after)], shares.log_prob(torch.tensor(after)), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(entropies[at, : len(after)], shares.entropy(), rtol=1e-4, atol=1e-4)
        assert not found[at, len(after) :].any()
    found.sum().backward()
    assert model.causal.get_input_embeddings().weight.grad is not None
