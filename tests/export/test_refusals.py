"""What is not exported is refused by name, before anything is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from t1_vectorstore.checkpoints.gguf import GGUFFile
from t1_vectorstore.errors import CheckpointError
from t1_vectorstore.export.families import FAMILIES, Conversion
from t1_vectorstore.export.writing import lossless_type, write_gguf
from tests.checkpoints import save_checkpoint

QWEN3 = {
    "model_type": "qwen3",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 300,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
    "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
}
GEMMA2 = QWEN3 | {
    "model_type": "gemma2",
    "hidden_act": "gelu_pytorch_tanh",
    "sliding_window": 32,
    "query_pre_attn_scalar": 16,
    "attn_logit_softcapping": 50.0,
    "final_logit_softcapping": 30.0,
}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "another family": ({"model_type": "gpt2"}, "models of the type 'gpt2' are not exported; gemma, gemma2"),
    "a key that may have an effect": ({"new_trick": 1}, "a qwen3 model with new_trick=1 is not exported"),
    "another activation": ({"hidden_act": "relu"}, "with hidden_act='relu'"),
    "a sliding window": ({"use_sliding_window": True}, "with use_sliding_window=True"),
    "layers with a window": ({"layer_types": ["full_attention", "sliding_attention"]}, "with layer_types="),
    "biases that llama.cpp has no tensors for": ({"attention_bias": True}, "with attention_bias=True"),
    "a missing size": ({"num_key_value_heads": None}, "with num_key_value_heads=None"),
    "other rotary embeddings": ({"rope_parameters": {"rope_type": "longrope"}}, "with rope_type='longrope'"),
    "an unknown parameter of them": (
        {"rope_parameters": {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 8, "mscale": 1.0}},
        "rotary embeddings of qwen3 with mscale=1.0",
    ),
    "a missing parameter of them": ({"rope_parameters": {"rope_type": "linear"}}, "linear rotary embeddings without"),
    "Llama 3.1's with another family": (
        {"rope_parameters": {"rope_type": "llama3", "factor": 8.0}},
        "rotary embeddings of qwen3 with factor=8.0",
    ),
}
REFUSED_GEMMA: dict[str, tuple[dict[str, Any], str]] = {
    "another scale": ({"query_pre_attn_scalar": 7}, "with query_pre_attn_scalar=7"),
    "no soft cap": ({"attn_logit_softcapping": None}, "with attn_logit_softcapping=None"),
    "another order of layers": ({"layer_types": ["full_attention", "sliding_attention"]}, "with layer_types="),
    "a head of its own": ({"tie_word_embeddings": False}, "with tie_word_embeddings=False"),
}


def test_the_tables_hold() -> None:
    assert {Conversion(QWEN3).architecture, Conversion(GEMMA2).architecture} <= set(FAMILIES)


@pytest.mark.parametrize("name", REFUSED)
def test_configurations(name: str) -> None:
    change, message = REFUSED[name]
    with pytest.raises(CheckpointError, match=message):
        Conversion(QWEN3 | change)


@pytest.mark.parametrize("name", REFUSED_GEMMA)
def test_configurations_of_gemma(name: str) -> None:
    change, message = REFUSED_GEMMA[name]
    with pytest.raises(CheckpointError, match=message):
        Conversion(GEMMA2 | change)


def test_a_window_of_mistral() -> None:
    with pytest.raises(CheckpointError, match="a mistral model with sliding_window=64"):
        Conversion(QWEN3 | {"model_type": "mistral", "sliding_window": 64})


def change_weights(folder: Path, change: dict[str, torch.Tensor | None]) -> Checkpoint:
    """Replace or remove tensors of a checkpoint."""
    weights = load_file(folder / "model.safetensors") | change
    save_file({name: tensor for name, tensor in weights.items() if tensor is not None}, folder / "model.safetensors")
    return Checkpoint.load(folder)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"model.layers.0.other.weight": torch.zeros(2, 2)}, "f32", "'model.layers.0.other.weight' of a qwen3 model"),
        (
            {"model.layers.0.self_attn.q_proj.bias": torch.zeros(64)},
            "f32",
            "q_proj.bias' of a qwen3 model is",
        ),
        ({"model.embed_tokens.weight": None}, "f32", r"lacks weights: llama.cpp's token_embd.weight"),
        ({"lm_head.weight": None}, "f32", r"lacks weights: llama.cpp's output.weight"),
        ({"model.embed_tokens.weight": torch.zeros(7, 64)}, "f32", "has 7 embeddings, but config.json asks for"),
        ({"model.layers.0.mlp.up_proj.weight": torch.full((128, 64), 1e6)}, "f16", "take bf16"),
        ({"model.norm.weight": torch.zeros(64, dtype=torch.int8)}, "f32", "has the type I8; quantised weights"),
    ],
)
def test_weights(change: dict[str, torch.Tensor | None], kind: str, message: str, tmp_path: Path) -> None:
    checkpoint = change_weights(save_checkpoint(tmp_path / "folder"), change)
    with pytest.raises(CheckpointError, match=message):
        write_gguf(checkpoint, tmp_path / "out.gguf", kind)


def test_a_tokenizer_with_more_tokens_than_embeddings(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path / "folder")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": 100}))
    checkpoint = change_weights(folder, {"model.embed_tokens.weight": torch.zeros(100, 64)})
    with pytest.raises(CheckpointError, match="has the token 260, but the model has only 100 embeddings"):
        write_gguf(checkpoint, tmp_path / "out.gguf", "f32")


def test_the_type_that_loses_nothing(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path / "folder")
    assert lossless_type(Checkpoint.load(folder)) == "f32"
    assert lossless_type(Checkpoint.load("t1-mini")) == "bf16"
    assert lossless_type(change_weights(folder, {"model.norm.weight": torch.ones(64, dtype=torch.bfloat16)})) == "f32"


@pytest.mark.parametrize("shard_size", ["5GB", "50KB"])
def test_weights_in_several_files_and_without_a_head(shard_size: str, tmp_path: Path) -> None:
    """The names and values that are written are those of the checkpoint."""
    folder = save_checkpoint(tmp_path / "folder", model_type="qwen3", tie_word_embeddings=True, shard_size=shard_size)
    write_gguf(Checkpoint.load(folder), tmp_path / "out.gguf", "f32")
    file = GGUFFile.read(tmp_path / "out.gguf")
    assert "output.weight" not in file.header.by_name
    stored = {name: t for part in folder.glob("*.safetensors") for name, t in load_file(part).items()}
    tensor = file.header.by_name["blk.1.attn_q.weight"]
    data = (tmp_path / "out.gguf").read_bytes()[tensor.start : tensor.end]
    assert torch.equal(
        torch.frombuffer(bytearray(data), dtype=torch.float32).view(64, 64),
        stored["model.layers.1.self_attn.q_proj.weight"],
    )
