"""A figure of a whole run, drawn from the Trainer's logs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from t1_vectorstore.training.trainer import STATE_FILE

LOSSES = ("loss", "lm", "nce", "triplet", "distillation", "distill_queries", "distill_documents", "distill_texts")
REWARDS = ("reward", "kl", "exact")


def read_history(folder: Path) -> list[dict[str, Any]]:
    """Return the log records of a stage, in order; each has its ``step``."""
    checkpoints = sorted(folder.glob(f"checkpoint-*/{STATE_FILE}"), key=lambda path: -path.stat().st_mtime)
    for file in (folder / STATE_FILE, *checkpoints):
        if file.is_file():
            history: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["log_history"]
            return history
    return []


def plot_run(out: Path, file: Path) -> None:
    """Plot every stage of a run: losses or rewards in the first row, exact thoughts of the probes in the second."""
    from matplotlib.figure import Figure

    stages = [(path.name, history) for path in sorted(out.glob("[1-9]*-*")) if (history := read_history(path))]
    if not stages:
        return
    figure = Figure(figsize=(5.5 * len(stages), 7), layout="constrained")
    axes = figure.subplots(2, len(stages), squeeze=False)
    for (name, history), above, below in zip(stages, *axes, strict=True):
        title, keys = ("reward", REWARDS) if "grpo" in name else ("loss", LOSSES)
        probes = sorted({key for record in history for key in record if key.startswith("exact/")})
        for panel, series in ((above, keys), (below, probes)):
            for key in series:
                _plot_metric(panel, history, key)
            if panel.lines:
                panel.legend()
        above.set(title=f"{name}: {title}", xlabel="step")
        below.set(title="exact thoughts, held out", xlabel="step", ylim=(0, 1))
    figure.savefig(file, dpi=110)


def _plot_metric(axes: Any, history: list[dict[str, Any]], key: str) -> None:  # noqa: ANN401 - matplotlib's
    points = [(record["step"], record[key]) for record in history if isinstance(record.get(key), int | float)]
    if points:
        axes.plot(*zip(*points, strict=True), label=key)
