"""Create a small random base as a GGUF file, an adapter of it, and the merged model as a folder like any other."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from t1_vectorstore.backends.fake import SPEC
from t1_vectorstore.checkpoints.base_model import BASE_FILE
from t1_vectorstore.checkpoints.checkpoint import SPEC_FILE, Checkpoint
from t1_vectorstore.checkpoints.lora import ADAPTER_CONFIG, ADAPTER_FILE
from t1_vectorstore.export.writing import write_gguf
from tests.checkpoints import HIDDEN, save_checkpoint

EMB_TOKEN = "<t1>"
ADAPTER_SPEC = SPEC.with_overrides({"emb_token": EMB_TOKEN, "thought_end": ["<pad>"]})
ROWS = 261
RANK, ALPHA = 4, 6
NAME = "tiny-llama"
FILE = "tiny.gguf"

ADAPTED = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj")
ADAPTED += ("mlp.up_proj", "mlp.down_proj")


def save_base(folder: Path) -> Path:
    """Save a random Llama as transformers does, and as a GGUF file, which is returned."""
    model = save_checkpoint(folder / "base", model_type="llama", tie_word_embeddings=True, all_random=True)
    write_gguf(Checkpoint.load(model), folder / FILE, "f32")
    return folder / FILE


def save_adapter(folder: Path, base: Path, *, seed: int = 1) -> Path:
    """Save a random adapter of a base, and return its folder."""
    folder.mkdir()
    torch.manual_seed(seed)
    weights = load_file(base.parent / "base" / "model.safetensors")
    tensors = {}
    for name, weight in weights.items():
        if name.removesuffix(".weight").split(".", 3)[-1] in ADAPTED:
            part = f"base_model.model.{name.removesuffix('.weight')}"
            tensors[f"{part}.lora_A.weight"] = 0.1 * torch.randn(RANK, weight.shape[1])
            tensors[f"{part}.lora_B.weight"] = 0.1 * torch.randn(weight.shape[0], RANK)
    rows = 1.0 * torch.randn(1, HIDDEN)
    tensors["base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta"] = rows
    save_file({name: tensor.bfloat16() for name, tensor in tensors.items()}, folder / ADAPTER_FILE)
    config = {
        **{"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "bias": "none", "target_modules": ["q_proj"]},
        **{"base_model_name_or_path": NAME, "trainable_token_indices": [ROWS]},
    }
    (folder / ADAPTER_CONFIG).write_text(json.dumps(config), encoding="utf-8")
    source = {
        **{"name": NAME, "sha256": hashlib.sha256(base.read_bytes()).hexdigest(), "file": FILE},
        **{"module": "t1_test_base", "requirement": "t1-test-base==1", "repository": "owner/tiny-GGUF"},
    }
    (folder / BASE_FILE).write_text(json.dumps(source), encoding="utf-8")
    (folder / SPEC_FILE).write_text(ADAPTER_SPEC.model_dump_json(), encoding="utf-8")
    return folder


def save_merged(folder: Path, base: Path, adapter: Path) -> Path:
    """Merge with torch, and save the model as a folder like any other, with the same tokens."""
    source = base.parent / "base"
    folder.mkdir()
    weights, read = load_file(source / "model.safetensors"), load_file(adapter / ADAPTER_FILE)
    for name in weights:
        part = f"base_model.model.{name.removesuffix('.weight')}"
        if f"{part}.lora_A.weight" in read:
            a, b = (read[f"{part}.lora_{side}.weight"].float() for side in "AB")
            weights[name] = weights[name] + ALPHA / RANK * b @ a
    rows = next(value for name, value in read.items() if name.endswith("trainable_tokens_delta")).float()
    weights["model.embed_tokens.weight"] = torch.cat([weights["model.embed_tokens.weight"], rows])
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((source / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": ROWS + 1}), encoding="utf-8")
    tokenizer = Checkpoint.load(source).tokenizer
    tokenizer.add_special_tokens([EMB_TOKEN])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / SPEC_FILE).write_text(ADAPTER_SPEC.model_dump_json(), encoding="utf-8")
    return folder


def change_json(file: Path, changes: Mapping[str, Any]) -> None:
    """Change fields of a JSON file; ``None`` removes one."""
    content = {**json.loads(file.read_text("utf-8")), **changes}
    file.write_text(json.dumps({name: value for name, value in content.items() if value is not None}), encoding="utf-8")
