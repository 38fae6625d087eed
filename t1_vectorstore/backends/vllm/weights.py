"""Whether all of a checkpoint's weights are there. vLLM 0.32 does not look at those of linear layers.

A parameter that no file has keeps whatever was in memory, and the vectors mean nothing.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, AutoModelForCausalLM

from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from t1_vectorstore.errors import CheckpointError


def check_weights(checkpoint: Checkpoint, *, remote_code: bool) -> None:
    """See that what one layer has and another needs is there for the other too.

    That much is certain whatever a family calls its parameters; the rest vLLM sees itself. A model that transformers
    does not know is left to vLLM.

    Raises:
        CheckpointError: weights are missing, or a file of them cannot be read.
    """
    try:
        config = AutoConfig.from_pretrained(checkpoint.path, trust_remote_code=remote_code, local_files_only=True)
        with torch.device("meta"):  # shapes and names, no memory
            loader: Any = AutoModelForCausalLM
            model = loader.from_config(config, trust_remote_code=remote_code)
    except (ValueError, KeyError, ImportError, AttributeError):
        return
    present = {name for file in checkpoint.path.glob("*.safetensors") for name in _names(file)}
    kinds = {_kind(name) for name in present}
    absent = sorted(name for name, _ in model.named_parameters() if name not in present and _kind(name) in kinds)
    if absent:
        raise CheckpointError(
            f"{checkpoint.path} lacks weights its config.json asks for: {absent[:3]} ({len(absent)} in all)"
        )


def _names(file: Path) -> list[str]:
    try:
        with safe_open(file, framework="pt") as tensors:
            return list(tensors.keys())
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}") from error


def _kind(name: str) -> str:
    """A parameter's name with the number of its layer blotted out."""
    return re.sub(r"\.\d+\.", ".#.", name)
