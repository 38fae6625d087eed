"""This package's decoder computes what transformers does for each supported configuration, and refuses the others."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from t1_vectorstore import T1Embedder
from t1_vectorstore.backends import local
from t1_vectorstore.backends.batching import Layout
from t1_vectorstore.backends.decoder.attention import causal_attention
from t1_vectorstore.backends.decoder.config import DecoderConfig
from t1_vectorstore.backends.decoder.decoder import Decoder
from t1_vectorstore.backends.decoder.matmul_attention import attend, attend_causally
from t1_vectorstore.backends.decoder.model import DecoderModel
from t1_vectorstore.backends.decoder.scheduler import ThoughtBatch
from t1_vectorstore.backends.decoding import ThoughtState, next_tokens
from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from t1_vectorstore.checkpoints.spec import Decoding
from t1_vectorstore.errors import CheckpointError
from tests.backends.contract import cosines
from tests.backends.models import DECODING, INSTRUCTION, LLAMA3, PROMPTS, SUPPORTED, YARN, load, rng, states
from tests.checkpoints import save_checkpoint


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(config, id=name, marks=[pytest.mark.thorough] if "," in name else [])
        for name, config in SUPPORTED.items()
    ],
)
def test_same_vectors_and_same_thoughts(tmp_path: Path, config: dict[str, Any]) -> None:
    folder = save_checkpoint(tmp_path, closes=1.5, all_random=True, **config)
    own, reference = load(folder), load(folder, own_decoder=False)
    assert isinstance(own.model, DecoderModel)
    assert not isinstance(reference.model, DecoderModel)
    assert cosines(own.encode(PROMPTS), reference.encode(PROMPTS)).min() >= 0.99999
    ours, theirs = (backend.think(PROMPTS, DECODING) for backend in (own, reference))
    assert [(t.ids, t.stop) for t in ours] == [(t.ids, t.stop) for t in theirs]
    assert cosines(states(ours), states(theirs)).min() >= 0.99999
    assert len({tuple(t.ids) for t in ours}) > 10  # equal thoughts would prove little


@pytest.mark.parametrize("name", ["qwen3", "qwen2", "llama 3"])
def test_bfloat16_is_as_close_to_float32_as_in_transformers(tmp_path: Path, name: str) -> None:
    folder = save_checkpoint(tmp_path, all_random=True, **SUPPORTED[name])
    exact = load(folder, own_decoder=False).encode(PROMPTS)
    error = [
        1 - cosines(load(folder, own_decoder=own, dtype="bfloat16").encode(PROMPTS), exact).mean()
        for own in (True, False)
    ]
    assert error[0] <= 1.1 * error[1]


def test_vectors_of_bfloat16_thoughts_equal_encoding_them(tiny: Path) -> None:
    backend = load(tiny, dtype="bfloat16")
    thoughts = backend.think(PROMPTS, DECODING)  # more than _MIN_THOUGHTS at first, fewer at the end
    whole = [[*prompt, *thought.ids, 4] for prompt, thought in zip(PROMPTS, thoughts, strict=True)]
    assert cosines(states(thoughts), load(tiny, own_decoder=False).encode(whole)).min() >= 0.998
    assert cosines(states(thoughts), backend.encode(whole)).min() >= 0.998


@pytest.mark.thorough
def test_results_do_not_depend_on_batches_and_slots(tiny: Path) -> None:
    decoding = [DECODING, Decoding(max_tokens=16, temperature=1.0, top_p=0.9, top_k=40)]
    whole, narrow = load(tiny), load(tiny, batch_tokens=40)
    narrow.loop.cache_budget.tokens = 3 * 120  # three slots, and a waiting prompt takes one as soon as it is free
    assert cosines(whole.encode(PROMPTS), narrow.encode(PROMPTS)).min() >= 0.99999
    for how in decoding:
        together, apart = whole.think(PROMPTS, how), narrow.think(PROMPTS, how)
        alone = [thought for prompt in PROMPTS for thought in whole.think([prompt], how)]
        assert {t.stop for t in together} == {"emb_token", "budget"}
        for others in (apart, alone):
            assert [(t.ids, t.stop) for t in others] == [(t.ids, t.stop) for t in together]
            assert cosines(states(others), states(together)).min() >= 0.99999


def test_sharded_weights_and_names_without_prefix(tiny: Path, tmp_path: Path) -> None:
    expected = load(tiny).encode(PROMPTS)
    sharded = save_checkpoint(tmp_path / "sharded", closes=1.5, shard_size="100KB")
    assert not (sharded / "model.safetensors").exists()
    assert (load(sharded).encode(PROMPTS) == expected).all()
    bare = shutil.copytree(tiny, tmp_path / "bare")
    weights = load_file(bare / "model.safetensors")
    weights = {name.removeprefix("model."): tensor for name, tensor in weights.items() if name != "lm_head.weight"}
    save_file(weights, bare / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lacks weights .*lm_head"):
        load(bare)
    vectors = [
        T1Embedder.load(folder, dtype="float32", overrides={"thinks": False}).embed_documents(["a"]).vectors
        for folder in (bare, tiny)
    ]
    assert (vectors[0] == vectors[1]).all()  # a model that does not think needs no matrix for logits
    (sharded / "model-00002-of-00009.safetensors").unlink(missing_ok=True)
    next(sharded.glob("model-*.safetensors")).unlink()
    with pytest.raises(CheckpointError, match="does not load"):
        load(sharded)


@pytest.mark.parametrize("change", [{"hidden_size": 32}, {"num_hidden_layers": 3}, {"intermediate_size": 100}])
def test_weights_with_wrong_shapes(tiny: Path, tmp_path: Path, change: dict[str, int]) -> None:
    folder = shutil.copytree(tiny, tmp_path / "copy")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(CheckpointError, match=r"has the shape .* asks for|lacks weights"):
        load(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "mistral", "sliding_window": 8},
        {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 0},
        {"layer_types": ["full_attention", "sliding_attention"]},
        {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}},
        {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, **YARN, "truncate": False}},
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4}},
        {"rope_parameters": None},
        {"hidden_act": "gelu"},
        {"mlp_bias": True},
        {"quantization_config": {"quant_method": "fp8"}},
        {"auto_map": {"AutoModelForCausalLM": "code.Model"}},
        {"something_new": 1},
        {"rms_norm_eps": None},
        {"num_key_value_heads": None},
        {"head_dim": None},
    ],
    ids=str,
)
def test_unsupported_configurations_are_refused(tiny: Path, change: dict[str, Any]) -> None:
    config = json.loads((tiny / "config.json").read_text())
    assert DecoderConfig.read(config) is not None
    assert DecoderConfig.read(config | change) is None


@pytest.mark.thorough
@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "mistral", "sliding_window": 16},
        {"model_type": "gemma2", "sliding_window": 16, "query_pre_attn_scalar": 16},  # with a soft cap
        {"model_type": "gemma3_text", "sliding_window": 16},
        {"model_type": "phi3"},
        {"model_type": "mamba"},
        {"model_type": "recurrent_gemma"},
        {"model_type": "lfm2", "layer_types": ["conv", "full_attention"]},
    ],
    ids=lambda config: config["model_type"],
)
def test_other_families_run_on_transformers(tmp_path: Path, config: dict[str, Any]) -> None:
    folder = save_checkpoint(tmp_path, closes=1.5, **config)
    backend = load(folder)
    assert not isinstance(backend.model, DecoderModel)
    thoughts = backend.think(PROMPTS[:6], DECODING)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with suppress(ValueError):  # for models without attention
        model.set_attn_implementation("eager")
    read = [[*prompt, *thought.ids, 4] for prompt, thought in zip(PROMPTS, thoughts, strict=False)]
    with torch.no_grad():
        plain = [model(torch.tensor([ids]), output_hidden_states=True, use_cache=False) for ids in read]
    ends = np.stack([output.hidden_states[-1][0, -1].numpy() for output in plain])
    assert cosines(states(thoughts), ends).min() >= 0.9999
    assert cosines(backend.encode(read), ends).min() >= 0.9999
    for prompt, thought, output in zip(PROMPTS, thoughts, plain, strict=False):
        greedy = output.logits[0, len(prompt) - 1 : -1].argmax(-1).tolist()
        assert greedy == [*thought.ids, 4] if thought.stop == "emb_token" else greedy[:-1] == thought.ids


def test_other_devices_run_on_transformers(tiny: Path) -> None:
    assert local.decoder_config(Checkpoint.load(tiny), torch.device("mps")) is None


def test_configurations_of_transformers_4(tiny: Path) -> None:
    config = json.loads((tiny / "config.json").read_text())
    new = DecoderConfig.read(config | {"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, **LLAMA3}})
    del config["rope_parameters"]
    for kind in ({"type": "llama3"}, {"rope_type": "llama3", "type": "llama3"}):
        assert DecoderConfig.read(config | {"rope_theta": 5e5, "rope_scaling": {**kind, **LLAMA3}}) == new
    assert DecoderConfig.read(config | {"rope_theta": 5e5, "rope_scaling": None}) is not None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 50), (50, 50), (200, 200), (300, 301), (130, 300), (5, 9), (64, 100)])
def test_attention_of_the_last_tokens(dtype: torch.dtype, n: int, m: int) -> None:
    torch.manual_seed(0)
    queries, keys, values = (torch.randn(3, heads, m, 16) for heads in (6, 2, 2))
    before = m // 3
    for held in (keys, values):
        held[:, :, :before] = held[:1, :, :before]
    whole = torch.nn.functional.scaled_dot_product_attention(queries, keys, values, is_causal=True, enable_gqa=True)
    asked, keys, values = queries[:, :, m - n :].to(dtype), keys.to(dtype), values.to(dtype)
    found = [attend_causally(asked, keys, values)]
    if n in (1, m):
        found.append(causal_attention(asked, keys, values))
    if before and n <= m - before:
        shared = keys[0, :, :before], values[0, :, :before]
        found.append(attend_causally(asked, keys[:, :, before:], values[:, :, before:], shared))
    for seen in found:
        assert torch.allclose(seen.float(), whole[:, :, m - n :], atol=1e-5 if dtype == torch.float32 else 0.05)


@pytest.mark.parametrize("equal", [True, False])
@pytest.mark.parametrize("shared", [0, 1, 5])
def test_attention_of_a_decode_step(equal: bool, shared: int) -> None:
    torch.manual_seed(0)
    queries, keys, values = torch.randn(9, 2, 3, 16), torch.randn(9, 2, 40, 16), torch.randn(9, 2, 40, 16)
    for held in (keys, values):
        held[:, :, :shared] = held[:1, :, :shared]
    seen = None if equal else torch.arange(40) <= torch.randint(5, 40, (9, 1, 1, 1))
    expected = torch.nn.functional.scaled_dot_product_attention(queries, keys, values, attn_mask=seen)
    mask = None if seen is None else torch.zeros(9, 1, 1, 1, 40).masked_fill(~seen[:, None], float("-inf"))
    mask = None if mask is None else mask[..., shared:]
    before = (keys[0, :, :shared], values[0, :, :shared]) if shared else None
    found = attend(queries[:, :, :, None], keys[:, :, shared:], values[:, :, shared:], mask, before)
    assert torch.allclose(found[:, :, :, 0], expected, atol=1e-5)


def test_sampling_follows_the_warpers_of_transformers() -> None:
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    torch.manual_seed(0)
    draws = torch.rand(2000, dtype=torch.float64)
    for temperature, top_k, top_p in itertools.product((0.5, 1.5), (0, 5, 99), (0.3, 0.9, 1.0)):
        logits = torch.randn(1, 12)
        warped = TemperatureLogitsWarper(temperature)(None, logits)  # type: ignore[arg-type]
        warped = TopKLogitsWarper(min(top_k or 12, 12))(None, warped)  # type: ignore[arg-type]
        warped = TopPLogitsWarper(top_p)(None, warped) if top_p < 1 else warped  # type: ignore[arg-type]
        decoding = Decoding(temperature=temperature, top_k=top_k, top_p=top_p)
        chosen = next_tokens(logits.expand(2000, -1), decoding, draws).bincount(minlength=12) / 2000
        assert torch.allclose(chosen, warped.softmax(-1)[0], atol=0.05)
        assert not chosen[warped[0].isinf()].any()


def test_a_shared_prefix_is_computed_once(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend, read = load(tiny), []
    forward = Decoder.__call__
    monkeypatch.setattr(
        Decoder, "__call__", lambda self, ids, *a, **k: read.append(len(ids)) or forward(self, ids, *a, **k)
    )
    backend.think(PROMPTS, Decoding(max_tokens=0))
    assert read == [12, sum(map(len, PROMPTS)) - 12 * len(PROMPTS), len(PROMPTS)]
    read.clear()
    backend.think(PROMPTS[:2], Decoding(max_tokens=0))  # it would save too little
    assert read == [sum(map(len, PROMPTS[:2])), 2]


def test_a_shared_prefix_is_in_memory_once(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend, sizes = load(tiny), []
    backend.loop.cache_budget.tokens = 4 * (70 + 16 + 1) + 12  # for four thoughts; with a prefix for each only three
    admit = ThoughtBatch.admit

    def counted(self: ThoughtBatch, thoughts: Sequence[ThoughtState], layout: Layout) -> None:
        sizes.append(layout.slots)
        admit(self, thoughts, layout)

    monkeypatch.setattr(ThoughtBatch, "admit", counted)
    prompts = [INSTRUCTION + [rng.randrange(5, 260) for _ in range(70)] for _ in range(8)]
    together = backend.think(prompts, DECODING)
    assert set(sizes) == {4}
    expected = load(tiny, own_decoder=False).think(prompts, DECODING)
    assert [(t.ids, t.stop) for t in together] == [(t.ids, t.stop) for t in expected]
    assert cosines(states(together), states(expected)).min() >= 0.99999


@pytest.mark.process
def test_transformers_is_not_imported(tiny: Path) -> None:
    script = f"""
import sys
from t1_vectorstore import T1Embedder
embedder = T1Embedder.load({str(tiny)!r})
embedder.embed_documents(["a"]), embedder.embed_query("b", budget=3)
print([name for name in ("transformers", "torch._dynamo", "torch._inductor") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr
