"""A figure of a whole run, from the Trainer's own records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from t1_vectorstore.training.trainer_options import STATE

PANELS = (("loss", ("loss", "lm", "nce", "triplet", "distillation")), ("reward", ("reward", "kl", "exact")))


def read_history(folder: Path) -> list[dict[str, Any]]:
    """Everything a stage has logged, in order; each record has its ``step``."""
    files = [folder / STATE, *sorted(folder.glob(f"checkpoint-*/{STATE}"), key=lambda p: -p.stat().st_mtime)]
    for file in files:
        if file.is_file():
            history: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["log_history"]
            return history
    return []


def draw(out: Path, file: Path) -> None:
    """Draw every stage of the run in ``out``: losses or rewards above, exact thoughts of the probes below."""
    from matplotlib.figure import Figure

    stages = [(path.name, history) for path in sorted(out.glob("[1-9]*-*")) if (history := read_history(path))]
    if not stages:
        return
    figure = Figure(figsize=(5.5 * len(stages), 7), layout="constrained")
    axes = figure.subplots(2, len(stages), squeeze=False)
    for column, (name, history) in enumerate(stages):
        title, series = PANELS["grpo" in name]
        for key in series:
            _line(axes[0][column], history, key)
        axes[0][column].set(title=f"{name}: {title}", xlabel="step")
        for key in sorted({key for record in history for key in record if key.startswith("exact/")}):
            _line(axes[1][column], history, key)
        axes[1][column].set(title="exact thoughts, held out", xlabel="step", ylim=(0, 1))
        for row in (0, 1):
            if axes[row][column].lines:
                axes[row][column].legend()
    figure.savefig(file, dpi=110)


def _line(axes: Any, history: list[dict[str, Any]], key: str) -> None:  # noqa: ANN401 - matplotlib's
    points = [(record["step"], record[key]) for record in history if isinstance(record.get(key), int | float)]
    if points:
        axes.plot(*zip(*points, strict=True), label=key)
