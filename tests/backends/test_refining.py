"""Refine Thought: both decoders compute what transformers does when each step reads the whole sequence again."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from t1_vectorstore import T1Embedder
from t1_vectorstore.backends.decoder.decoder import Decoder
from t1_vectorstore.backends.decoder.model import DecoderModel
from t1_vectorstore.backends.local import load_local
from t1_vectorstore.checkpoints.checkpoint import BUNDLED, Checkpoint
from t1_vectorstore.checkpoints.spec import Decoding, Refining
from t1_vectorstore.options import LoadingOptions
from tests.backends.contract import cosines
from tests.backends.models import DECODING, PROMPTS, SUPPORTED, load, states
from tests.checkpoints import save_checkpoint

CLOSED = [[*prompt, 4] for prompt in PROMPTS]
OTHERS = ["qwen3, tied", "qwen2", "llama", "llama 3"]
HOW = [Refining(steps=steps, aggregate=how) for steps, how in ((1, "last"), (4, "last"), (4, "mean"))]


@torch.no_grad()
def slow_states(folder: Path, sequences: Sequence[Sequence[int]], refining: Refining, *, layer: int = -1) -> np.ndarray:
    """Compute the states by transformers alone: one sequence at a time, without a cache."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with suppress(ValueError):  # for models without attention
        model.set_attn_implementation("eager")
    found = []
    for ids in sequences:
        inputs = model.get_input_embeddings()(torch.tensor([list(ids)]))
        passes = []
        for _ in range(refining.steps + 1):
            output = model(inputs_embeds=inputs, output_hidden_states=True, use_cache=False)
            passes.append(output.hidden_states[layer][0, -1])
            inputs = torch.cat([inputs, output.hidden_states[-1][:, -1:]], dim=1)
        found.append(torch.stack(passes).mean(0) if refining.aggregate == "mean" else passes[-1])
    return torch.stack(found).numpy()


@pytest.mark.parametrize("name", ["qwen3", *(pytest.param(other, marks=pytest.mark.thorough) for other in OTHERS)])
@pytest.mark.parametrize("refining", HOW, ids=str)
def test_both_decoders_equal_the_slow_computation(tmp_path: Path, name: str, refining: Refining) -> None:
    folder = save_checkpoint(tmp_path, closes=1.5, all_random=True, **SUPPORTED[name])
    own, reference = load(folder), load(folder, own_decoder=False)
    assert isinstance(own.model, DecoderModel)
    assert not isinstance(reference.model, DecoderModel)
    without = [backend.refine(CLOSED, refining) for backend in (own, reference)]
    assert cosines(without[0], without[1]).min() >= 0.9999
    assert cosines(without[0][:6], slow_states(folder, CLOSED[:6], refining)).min() >= 0.9999
    assert cosines(without[0], own.encode(CLOSED)).max() < 0.99  # refining changes the vector
    thoughts = [backend.think(PROMPTS, DECODING, refining=refining) for backend in (own, reference)]
    assert [(t.ids, t.stop) for t in thoughts[0]] == [(t.ids, t.stop) for t in thoughts[1]]
    assert {t.stop for t in thoughts[0]} == {"emb_token", "budget"}
    assert cosines(states(thoughts[0]), states(thoughts[1])).min() >= 0.9999
    whole = [[*prompt, *thought.ids, 4] for prompt, thought in zip(PROMPTS, thoughts[0], strict=True)]
    assert cosines(states(thoughts[0])[:6], slow_states(folder, whole[:6], refining)).min() >= 0.9999


@pytest.mark.parametrize("refining", HOW, ids=str)
@pytest.mark.parametrize("think", [True, pytest.param(False, marks=pytest.mark.thorough)])
def test_the_bundled_model(refining: Refining, think: bool) -> None:
    embedder = T1Embedder.load("t1-mini", dtype="float32")
    queries = ["what is grown in the country ruled from Paris", "what do they mine in the neighbour of Chad", "where"]
    asked: dict[str, Any] = {"think": think, "refine_steps": refining.steps, "refine": refining.aggregate}
    found = embedder.embed_queries(queries, **asked)
    plain = embedder.embed_queries(queries, think=think)
    assert [each.thoughts for each in found] == [each.thoughts for each in plain]
    prompter = embedder._prompter
    prompts = [prompt.ids for prompt in prompter.queries(queries, think=think)]
    if think:
        thoughts = [prompter.thought_ids(each.thoughts[0].text) for each in found]
        prompts = [[*prompt, *thought] for prompt, thought in zip(prompts, thoughts, strict=True)]
    slow = slow_states(BUNDLED / "t1-mini", prompts, refining)
    vectors = np.stack([each.vector for each in found])
    assert cosines(vectors, slow).min() >= 0.9999
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert cosines(vectors, np.stack([each.vector for each in plain])).max() < 0.9999


@pytest.mark.parametrize("own", [True, False])
def test_zero_steps_change_nothing(tiny: Path, own: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not own:
        monkeypatch.setattr("t1_vectorstore.backends.local.decoder_config", lambda *_: None)
    embedder = T1Embedder.load(tiny, dtype="float32")
    for asked in ({"think": True, "budget": 9}, {"think": False}):
        plain = embedder.embed_queries(["one", "and another"], **asked)  # type: ignore[arg-type]
        none = embedder.embed_queries(["one", "and another"], refine_steps=0, **asked)  # type: ignore[arg-type]
        assert all((p.vector == n.vector).all() for p, n in zip(plain, none, strict=True))


@pytest.mark.thorough
@pytest.mark.parametrize("refining", HOW[1:], ids=str)
def test_results_do_not_depend_on_batches_and_slots(tiny: Path, refining: Refining) -> None:
    """Some thoughts grow while others are refined, in slots that are moved and used again."""
    whole, narrow = load(tiny), load(tiny, batch_tokens=40)
    narrow.loop.cache_budget.tokens = 3 * 120
    together, apart = (
        whole.think(PROMPTS, DECODING, refining=refining),
        narrow.think(PROMPTS, DECODING, refining=refining),
    )
    alone = [thought for prompt in PROMPTS for thought in whole.think([prompt], DECODING, refining=refining)]
    for others in (apart, alone):
        assert [(t.ids, t.stop) for t in others] == [(t.ids, t.stop) for t in together]
        assert cosines(states(others), states(together)).min() >= 0.99999
    refined = whole.refine(CLOSED, refining)
    assert cosines(narrow.refine(CLOSED, refining), refined).min() >= 0.99999
    assert cosines(np.concatenate([whole.refine([ids], refining) for ids in CLOSED]), refined).min() >= 0.99999


def test_refining_does_not_change_thoughts(tiny: Path) -> None:
    for how in (DECODING, Decoding(max_tokens=16, temperature=1.0, top_p=0.9, top_k=40)):
        for own in (True, False):
            backend = load(tiny, own_decoder=own)
            plain, refined = backend.think(PROMPTS, how), backend.think(PROMPTS, how, refining=Refining(steps=3))
            assert [(t.ids, t.stop) for t in plain] == [(t.ids, t.stop) for t in refined]


@pytest.mark.thorough
@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("layer", [0, 1])
def test_another_pooling_layer(tiny: Path, own: bool, layer: int) -> None:
    """Its states are pooled, but those of the last layer are fed back."""
    checkpoint = Checkpoint.load(tiny, overrides={"pooling_layer": layer})
    backend = load_local(checkpoint, LoadingOptions(dtype="float32"), "cpu", stop_ids=[4], own_decoder=own)
    for refining in HOW[1:]:
        found = backend.refine(CLOSED[:5], refining)
        assert cosines(found, slow_states(tiny, CLOSED[:5], refining, layer=layer)).min() >= 0.9999


@pytest.mark.thorough
@pytest.mark.parametrize("family", ["mistral", "gemma2", "mamba"])
def test_other_families(tmp_path: Path, family: str) -> None:
    """With a cache, or without one if the model remembers more than keys and values."""
    special: dict[str, Any] = {"gemma2": {"sliding_window": 16, "query_pre_attn_scalar": 16}}
    folder = save_checkpoint(tmp_path, closes=1.5, model_type=family, **special.get(family, {}))
    backend = load(folder)
    assert not isinstance(backend.model, DecoderModel)
    for refining in HOW[1:]:
        thoughts = backend.think(PROMPTS[:5], DECODING, refining=refining)
        whole = [[*prompt, *thought.ids, 4] for prompt, thought in zip(PROMPTS, thoughts, strict=False)]
        expected = slow_states(folder, whole, refining)
        assert cosines(states(thoughts), expected).min() >= 0.9999
        assert cosines(backend.refine(whole, refining), expected).min() >= 0.9999


def test_each_step_is_a_forward_pass_of_one_token(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend, read = load(tiny), []
    forward = Decoder.__call__
    monkeypatch.setattr(
        Decoder, "__call__", lambda self, ids, *a, **k: read.append(len(ids)) or forward(self, ids, *a, **k)
    )
    backend.refine(CLOSED[:2], Refining(steps=3))
    assert read == [sum(map(len, CLOSED[:2])), 2, 2, 2]
    read.clear()
    backend.think(PROMPTS[:2], Decoding(max_tokens=0), refining=Refining(steps=3))
    assert read == [sum(map(len, PROMPTS[:2])), 2, 2, 2, 2]


def test_a_checkpoint_that_does_not_think_needs_no_logits(tiny: Path) -> None:
    embedder = T1Embedder.load(tiny, dtype="float32", overrides={"thinks": False, "refining": {"steps": 2}})
    thinking = T1Embedder.load(tiny, dtype="float32")
    vector = thinking.embed_query("a", think=False, refine_steps=2).vector
    assert (embedder.embed_query("a").vector == vector).all()


def test_bfloat16_is_as_close_to_float32_as_in_transformers(tiny: Path) -> None:
    refining = Refining(steps=2, aggregate="mean")
    exact = load(tiny, own_decoder=False).refine(CLOSED, refining)
    error = [
        1 - cosines(load(tiny, own_decoder=own, dtype="bfloat16").refine(CLOSED, refining), exact).mean()
        for own in (True, False)
    ]
    assert error[0] <= 1.5 * error[1] + 1e-4
