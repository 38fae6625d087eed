"""GGUF files for tests: checkpoints of this package converted, and a real language model."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
from safetensors.numpy import load_file

from t1_vectorstore.checkpoints.checkpoint import SPEC_FILE
from t1_vectorstore.checkpoints.gguf import SPEC_KEY


def write_qwen3(folder: Path, file: Path, *, architecture: str = "qwen3", f16: bool = False) -> Path:
    """Convert a Qwen3 checkpoint of float32 weights."""
    config = json.loads((folder / "config.json").read_text())
    weights = {name: array for part in folder.glob("*.safetensors") for name, array in load_file(part).items()}
    writer = gguf.GGUFWriter(str(file), architecture)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokens = [f"[PAD{index}]" for index in range(config["vocab_size"])]
    for token, index in tokenizer["model"]["vocab"].items():
        tokens[index] = token
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * len(tokens))
    writer.add_token_merges(["a b"])
    writer.add_string("tokenizer.huggingface.json", json.dumps(tokenizer))
    writer.add_string(SPEC_KEY, (folder / SPEC_FILE).read_text())
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN3, config["num_hidden_layers"])
    for name, array in weights.items():
        values = array.astype(np.float16 if f16 and array.ndim == 2 else np.float32)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight", ".bias")), values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file
