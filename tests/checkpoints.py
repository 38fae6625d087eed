"""Create small real checkpoints: random weights, a byte tokenizer, and a specification."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from t1_vectorstore.backends.fake import SPEC, byte_tokenizer
from t1_vectorstore.checkpoints.checkpoint import SPEC_FILE
from t1_vectorstore.checkpoints.spec import CheckpointSpec

HIDDEN = 64


def save_checkpoint(
    folder: Path,
    *,
    model_type: str = "qwen3",
    spec: CheckpointSpec = SPEC,
    closes: float = 0.0,
    seed: int = 0,
    hidden: int = HIDDEN,
    layers: int = 2,
    shard_size: str = "5GB",
    all_random: bool = False,
    **options: Any,
) -> Path:
    """Save a model with random weights.

    Args:
        folder: Folder to write.
        model_type: Model family, by its name in transformers.
        spec: The specification.
        closes: Factor of the emb token's logits. With a larger one the model closes more thoughts itself.
        seed: Seed of the weights.
        hidden: Length of the hidden states.
        layers: Number of layers.
        shard_size: Maximum size of a file of weights.
        all_random: Whether norms and biases are random as well, which transformers sets to ones and zeros.
        options: Fields of the model's configuration. A ``head_dim`` of ``None`` is left out.
    """
    torch.manual_seed(seed)
    tokenizer = byte_tokenizer()
    fields = {
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": hidden // 4,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": False,
        "initializer_range": 0.3,
        "pad_token_id": 0,
        "bos_token_id": None,
        "eos_token_id": 4,
    }
    fields |= options
    if fields["head_dim"] is None:
        del fields["head_dim"]
    config = AutoConfig.for_model(model_type, **fields)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        model.get_output_embeddings().weight[4] *= closes
    for name, parameter in model.named_parameters():
        if all_random and name.endswith(("bias", "norm.weight")):
            torch.nn.init.normal_(parameter, mean=float("norm" in name), std=0.3)
    model.save_pretrained(folder, max_shard_size=shard_size)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / SPEC_FILE).write_text(spec.model_dump_json(exclude_defaults=True), encoding="utf-8")
    return folder
