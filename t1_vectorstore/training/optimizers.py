"""Muon for the matrices of the layers and AdamW for everything else, as one optimizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from t1_vectorstore.errors import TrainingFailed
from t1_vectorstore.training.configs import Stage

WORDS = "embed_tokens"


def make_optimizer(model: nn.Module, stage: Stage) -> torch.optim.Optimizer:
    """Make the optimizer of a stage for the parameters that are trained.

    Raises:
        TrainingFailed: Muon is asked for, and torch has none.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    rate, decay = stage.learning_rate, stage.weight_decay
    words = [p for name, p in trained.items() if WORDS in name]
    others = {name: p for name, p in trained.items() if WORDS not in name}
    muon = stage.optimizer == "muon"
    if muon and not hasattr(torch.optim, "Muon"):
        raise TrainingFailed(f"torch {torch.__version__} has no Muon optimizer: install torch 2.9, or take adamw")
    matrices = {name: p for name, p in others.items() if muon and p.ndim == 2 and ".layers." in name}
    left = [p for name, p in others.items() if name not in matrices]
    groups = [
        {"params": words, "lr": rate if stage.embedding_rate is None else stage.embedding_rate},
        {"params": left, "lr": rate},
    ]
    adamw = torch.optim.AdamW([g for g in groups if g["params"]], lr=rate, weight_decay=decay, betas=(0.9, 0.98))
    if not muon:
        return adamw
    return Together(
        torch.optim.Muon(matrices.values(), lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"), adamw
    )


class Together(torch.optim.Optimizer):
    """Several optimizers, each with its own parameters, stepped and saved as one."""

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        """Join the optimizers."""
        self.parts = parts
        super().__init__([parameter for group in self.param_groups for parameter in group["params"]], {})

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of all parts, themselves: a scheduler sets their learning rates."""
        return [group for part in self.parts for group in part.param_groups]

    @param_groups.setter
    def param_groups(self, groups: list[dict[str, Any]]) -> None:
        """Nothing to set: the base class makes an empty list, and the parts have theirs."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Nothing to add, for the same reason."""

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Step each part."""
        loss = None if closure is None else closure()
        for part in self.parts:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The states of the parts, in order."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what ``state_dict`` gave."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
