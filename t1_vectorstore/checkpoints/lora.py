"""A LoRA adapter as PEFT writes it: matrices, and rows of trained tokens, to be merged into the weights of its base.

The method: https://arxiv.org/abs/2106.09685. The files: https://huggingface.co/docs/peft/developer_guides/checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from t1_vectorstore.checkpoints.chat_template import read_json_object
from t1_vectorstore.checkpoints.stored_tensors import Floats, StoredTensor, read_tensors
from t1_vectorstore.errors import CheckpointError

ADAPTER_FILE = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
EMBEDDINGS = "model.embed_tokens.weight"

_ROWS = "model.embed_tokens.token_adapter.trainable_tokens_delta"
"""PEFT's name of the rows of ``trainable_token_indices``. They are whole rows, in spite of the name."""
_READ = ("base_model_name_or_path", "r", "lora_alpha", "trainable_token_indices")
_WITHOUT_EFFECT = frozenset(
    {
        *("task_type", "target_modules", "layers_to_transform", "layers_pattern", "exclude_modules", "lora_dropout"),
        *("inference_mode", "peft_version", "revision", "auto_mapping", "megatron_core", "qalora_group_size"),
    }
)
"""Fields that do not change how an adapter is merged: the names of its tensors say where they belong."""
_SUPPORTED: Mapping[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "bias": ("none",),
    "init_lora_weights": (True, False, None, "gaussian", "orthogonal"),  # others change the base's weights
}
"""Fields with the values that are supported. All fields that are not named must be off."""


@dataclass(frozen=True)
class LoraAdapter:
    """A LoRA adapter.

    Attributes:
        folder: Its folder.
        base_name: Name of the base that it was trained on, if it states one.
        scale: Factor of the products of matrices.
        pairs: The matrices A and B by the name of the weight that ``scale * B @ A`` is added to.
        tokens: Ids of the tokens whose embeddings it replaces, or adds.
        rows: Their embeddings.
    """

    folder: Path
    base_name: str | None
    scale: float
    pairs: Mapping[str, tuple[StoredTensor, StoredTensor]]
    tokens: tuple[int, ...]
    rows: StoredTensor | None

    @classmethod
    def read(cls, folder: Path) -> LoraAdapter:
        """Read an adapter's configuration, and where its tensors are.

        Raises:
            CheckpointError: A file is missing or damaged, or the adapter is not plain LoRA.
        """
        config = read_json_object(folder / ADAPTER_CONFIG)
        tokens = _check_config(folder / ADAPTER_CONFIG, config)
        tensors = read_tensors(folder / ADAPTER_FILE)
        read = {tensor.name.removeprefix("base_model.model."): tensor for tensor in tensors}
        rows = read.pop(_ROWS, None)
        parts = sorted({name.rsplit(".lora_", 1)[0] for name in read})
        names = {f"{part}.weight": (f"{part}.lora_A.weight", f"{part}.lora_B.weight") for part in parts}
        wrong = set(read).symmetric_difference(name for pair in names.values() for name in pair)
        if wrong or not read:
            raise CheckpointError(
                f"{folder / ADAPTER_FILE} must have pairs of LoRA matrices, and nothing else but rows of tokens; "
                f"missing or unknown: {min(wrong, default='all')}"
            )
        pairs = {target: (read[a], read[b]) for target, (a, b) in names.items()}
        return cls(
            folder, config.get("base_model_name_or_path"), config["lora_alpha"] / config["r"], pairs, tokens, rows
        )

    def merged_shapes(self, shapes: Mapping[str, tuple[int, ...]], base: str) -> Mapping[str, tuple[int, ...]]:
        """Return the shapes of a base's weights when this adapter has been merged into them.

        Args:
            shapes: The shapes before, by the names of transformers.
            base: Name of the base, for messages.

        Raises:
            CheckpointError: The adapter does not fit the base.
        """
        for target, (a, b) in self.pairs.items():
            if shapes.get(target) != (b.shape[0], a.shape[1]) or a.shape[0] != b.shape[1]:
                raise CheckpointError(
                    f"{a.file} is an adapter of another base: its matrices {a.shape} and {b.shape} do not fit the "
                    f"{target} of {base}, {shapes.get(target)}"
                )
        before, hidden = shapes[EMBEDDINGS]
        after = max(before, *(number + 1 for number in self.tokens), 0)
        added = sum(number >= before for number in self.tokens)
        expected = (len(self.tokens), hidden) if self.tokens else None
        if (None if self.rows is None else self.rows.shape) != expected or added != after - before:
            raise CheckpointError(
                f"{self.folder / ADAPTER_FILE} must have rows of {hidden} values for the tokens {list(self.tokens)} of "
                f"{ADAPTER_CONFIG}, and added ones must follow the {before} tokens of {base} without a gap"
            )
        return {**shapes, EMBEDDINGS: (after, hidden)}

    def merge(self, name: str, weight: Floats) -> Floats:
        """Return one of the base's weights with this adapter; ``weight`` may be changed."""
        if name in self.pairs:
            a, b = self.pairs[name]
            weight += np.float32(self.scale) * (b.read() @ a.read())
        if name == EMBEDDINGS and self.rows is not None:
            added = max(0, max(self.tokens) + 1 - len(weight))
            weight = np.concatenate([weight, np.empty((added, weight.shape[1]), np.float32)])
            weight[list(self.tokens)] = self.rows.read()
        return weight


def _check_config(file: Path, config: Mapping[str, Any]) -> tuple[int, ...]:
    """Check that a configuration is of plain LoRA, and return the ids of the trained tokens.

    Raises:
        CheckpointError: It is of another kind, or has wrong values.
    """
    for name, value in config.items():
        supported = value in _SUPPORTED[name] if name in _SUPPORTED else not value
        if not supported and name not in _WITHOUT_EFFECT and name not in _READ:
            raise CheckpointError(f"{file} has {name}={value!r}, which is not supported: only plain LoRA is")
    for name in ("r", "lora_alpha"):
        if not isinstance(value := config.get(name), int | float) or value <= 0:
            raise CheckpointError(f"{file} must have a positive {name}, got {value!r}")
    given = config.get("trainable_token_indices") or []
    tokens = given.get("embed_tokens") if isinstance(given, dict) and len(given) == 1 else given
    if not isinstance(tokens, list) or any(type(number) is not int or number < 0 for number in tokens):
        raise CheckpointError(f"{file} has trainable_token_indices={given!r}, which must be a list of token ids")
    if len(set(tokens)) != len(tokens):
        raise CheckpointError(f"{file} has trainable_token_indices={given!r}, which has a token twice")
    return tuple(tokens)
