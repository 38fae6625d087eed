"""Recipes for models with a few thousand parameters."""

from __future__ import annotations

from typing import Any

from t1_vectorstore.training.configs import Recipe

MODEL = {"hidden": 32, "layers": 1, "heads": 2, "key_value_heads": 1, "intermediate": 32, "vocabulary": 400}
SFT = {
    "stage": "sft",
    "steps": 12,
    "queries": 8,
    "optimizer": "muon",
    "learning_rate": 2e-2,
    "warmup_steps": 2,
    "log_every": 1,
    "save_every": 5,
}


def recipe(*stages: dict[str, Any], thinks: bool = True, seed: int = 0, **model: Any) -> Recipe:
    """Return a recipe with these stages; by default one of stage 1."""
    return Recipe.model_validate(
        {"model": model or MODEL, "thinks": thinks, "seed": seed, "stages": list(stages) or [SFT]}
    )
