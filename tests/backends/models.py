"""Models that this package's decoder supports, prompts for them, and how tests load them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np

from t1_vectorstore.backends.local import LocalBackend, load_local
from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from t1_vectorstore.checkpoints.spec import Decoding
from t1_vectorstore.options import LoadingOptions

rng = random.Random(0)
INSTRUCTION = [rng.randrange(5, 260) for _ in range(12)]
PROMPTS = [INSTRUCTION + [rng.randrange(5, 260) for _ in range(rng.randrange(1, 70))] for _ in range(24)]
PROMPTS += [PROMPTS[0], PROMPTS[1]]
DECODING = Decoding(max_tokens=16)

LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
YARN = {"factor": 4.0, "original_max_position_embeddings": 32}

SUPPORTED: dict[str, dict[str, Any]] = {
    "qwen3": {"model_type": "qwen3"},
    "qwen3, tied": {"model_type": "qwen3", "tie_word_embeddings": True},
    "qwen3, attention bias": {"model_type": "qwen3", "attention_bias": True},
    "qwen3, wide heads": {"model_type": "qwen3", "head_dim": 48},
    "qwen3, one key head": {"model_type": "qwen3", "num_key_value_heads": 1},
    "qwen3, yarn": {"model_type": "qwen3", "rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, **YARN}},
    "qwen3, yarn with all parameters": {
        "model_type": "qwen3",
        "rope_parameters": {
            **{"rope_type": "yarn", "rope_theta": 1e4, **YARN},
            **{"attention_factor": 1.2, "beta_fast": 24.0, "beta_slow": 2.0},
        },
    },
    "qwen2": {"model_type": "qwen2"},
    "qwen2, tied, no head_dim": {"model_type": "qwen2", "tie_word_embeddings": True, "head_dim": None},
    "qwen2, another base": {"model_type": "qwen2", "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}},
    "llama": {"model_type": "llama"},
    "llama, a key head for each head": {"model_type": "llama", "num_key_value_heads": 4, "rms_norm_eps": 1e-5},
    "llama, attention bias": {"model_type": "llama", "attention_bias": True},
    "llama, linear": {
        "model_type": "llama",
        "rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0},
    },
    "llama 3": {"model_type": "llama", "rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, **LLAMA3}},
}


def load(folder: Path, *, own_decoder: bool = True, dtype: str = "float32", **options: Any) -> LocalBackend:
    """Load a checkpoint with this package's decoder if it supports the model, or always with transformers."""
    loading = LoadingOptions(dtype=dtype, **options)
    return load_local(Checkpoint.load(folder), loading, "cpu", stop_ids=[4], own_decoder=own_decoder)


def states(thoughts: list) -> np.ndarray:
    return np.stack([thought.state for thought in thoughts])
