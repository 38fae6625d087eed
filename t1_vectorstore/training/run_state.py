"""What keeps a training run safe: limits, the learning rate's course, checkpoints and the log."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from t1_vectorstore.errors import TrainingFailed

log = logging.getLogger(__name__)
CHECKPOINT, RECORD = "checkpoint.pt", "log.jsonl"


def progress(step: int, seconds: float, max_steps: int | None, max_seconds: float | None) -> float:
    """Return how much of the nearer limit is used up: 0 at the start, 1 or more at the end."""
    parts = [step / max_steps] if max_steps else []
    parts += [seconds / max_seconds] if max_seconds else []
    return max(parts)


def schedule(step: int, used: float, warmup_steps: int) -> float:
    """Return the factor on the learning rate: a linear rise over the warm-up, then half a cosine down to zero."""
    return min(1.0, (step + 1) / warmup_steps) * 0.5 * (1.0 + math.cos(math.pi * min(used, 1.0)))


def restore(
    folder: Path, identity: Mapping[str, Any], model: torch.nn.Module, optimizers: Sequence[torch.optim.Optimizer]
) -> tuple[int, float]:
    """Load the folder's checkpoint, if there is one.

    Returns:
        The step and the seconds trained so far; zeros without a checkpoint.

    Raises:
        TrainingFailed: The checkpoint is of a run with another identity.
    """
    path = folder / CHECKPOINT
    if not path.is_file():
        return 0, 0.0
    state = torch.load(path, weights_only=True)
    changed = sorted(key for key in identity if state["identity"].get(key) != identity[key])
    if changed:
        raise TrainingFailed(f"{path} is of a run with another {', '.join(changed)}: give another folder or remove it")
    model.load_state_dict(state["model"])
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    return int(state["step"]), float(state["seconds"])


def checkpoint(
    folder: Path,
    identity: Mapping[str, Any],
    model: torch.nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    step: int,
    seconds: float,
) -> None:
    """Write the checkpoint; a run killed meanwhile keeps its previous one."""
    state = {
        "identity": dict(identity),
        "model": model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "step": step,
        "seconds": seconds,
    }
    partial = folder / f"{CHECKPOINT}.partial"
    torch.save(state, partial)
    partial.replace(folder / CHECKPOINT)


def record(folder: Path, report: Mapping[str, float], every: int) -> None:
    """Append one step's figures to the log of the folder, and tell of every ``every``-th step."""
    line = json.dumps({key: round(value, 5) for key, value in report.items()})
    with (folder / RECORD).open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    if int(report["step"]) % every == 0:
        log.info("%s", line)
