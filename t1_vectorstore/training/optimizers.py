"""The optimizer of a stage: AdamW, or Muon for the matrices of the layers and AdamW for everything else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from t1_vectorstore.errors import TrainingFailed
from t1_vectorstore.training.configs import Stage


def make_optimizer(model: nn.Module, stage: Stage) -> torch.optim.Optimizer:
    """Create the optimizer for the trainable parameters of a model.

    Raises:
        TrainingFailed: The stage uses Muon, which this version of torch does not have.
    """
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    rate, decay = stage.learning_rate, stage.weight_decay
    muon = stage.optimizer == "muon"
    if muon and not hasattr(torch.optim, "Muon"):
        raise TrainingFailed(f"torch {torch.__version__} has no Muon optimizer: install torch 2.9, or use adamw")
    embeddings, matrices, others = [], [], []
    for name, parameter in trainable.items():
        if "embed_tokens" in name:
            embeddings.append(parameter)
        elif muon and parameter.ndim == 2 and ".layers." in name:
            matrices.append(parameter)
        else:
            others.append(parameter)
    groups = [
        {"params": embeddings, "lr": rate if stage.embedding_rate is None else stage.embedding_rate},
        {"params": others, "lr": rate},
    ]
    adamw = torch.optim.AdamW([g for g in groups if g["params"]], lr=rate, weight_decay=decay, betas=(0.9, 0.98))
    if not muon:
        return adamw
    return CombinedOptimizer(
        torch.optim.Muon(matrices, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"), adamw
    )


class CombinedOptimizer(torch.optim.Optimizer):
    """Several optimizers, each with its own parameters, that step and are saved as one."""

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        """Combine the optimizers."""
        self.parts = parts
        super().__init__([parameter for group in self.param_groups for parameter in group["params"]], {})

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The parameter groups of all parts, not copies: a scheduler sets their learning rates."""
        return [group for part in self.parts for group in part.param_groups]

    @param_groups.setter
    def param_groups(self, groups: list[dict[str, Any]]) -> None:
        """Ignore the empty list that the base class sets."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Ignore the group that the base class adds."""

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Step every part."""
        loss = None if closure is None else closure()
        for part in self.parts:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the parts, in order."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a dictionary that :meth:`state_dict` returned."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
