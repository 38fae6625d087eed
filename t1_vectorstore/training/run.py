"""Runs a recipe: the beginning, then one stage after the other, each from the model of the one before.

out/run.json             the recipe and the digests of the data: what a continued run may not change, but for stages
                         that have not begun
out/0-begin/             the checkpoint that training begins with
out/1-sft/               checkpoints, TensorBoard's files (runs/), trainer_state.json, and model/ when it is done
out/2-grpo/              the same of the next stage
out/model/               the trained model
out/training.png         the losses and the exact thoughts of all stages
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
import time
from pathlib import Path
from typing import Any

from t1_vectorstore.checkpoints.checkpoint import SPEC_FILE
from t1_vectorstore.errors import MissingExtraError, TrainingFailed
from t1_vectorstore.training.checks import check_data, check_model
from t1_vectorstore.training.configs import Grpo, Recipe
from t1_vectorstore.training.examples import CORPUS, TRAIN, read_data

log = logging.getLogger(__name__)
RECORD, MODEL, FIGURE = "run.json", "model", "training.png"
FREE = {"threads", "log_every", "save_every", "probes", "probe_every", "probe_queries"}
"""Fields of a stage that a continued run may change: they do not touch the weights."""


def train(recipe: Recipe, source: Path, out: Path) -> Path:
    """Run a recipe, or go on with one that was interrupted.

    Args:
        recipe: What to do.
        source: Folder of the data, see :mod:`t1_vectorstore.training.examples`.
        out: Folder of the run.

    Returns:
        The folder of the trained model, which ``T1Embedder.load`` takes.

    Raises:
        CorpusError: The data is missing or malformed, by file and line.
        TrainingFailed: ``out`` is of another run, or the run cannot go on.
        MissingExtraError: The ``train`` extra is not installed.
        CheckpointError, ValueError: The recipe does not fit the model or the data.
    """
    _check_libraries(recipe)
    data = read_data(source)
    check_data(recipe, data, source)
    first = _is_first()
    if first:
        _claim(recipe, source, out)
    import torch
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call] # only the command line draws
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call] # it misses tied weights that are there
    from t1_vectorstore.training import supervised
    from t1_vectorstore.training.init_model import begin

    model = out / "0-begin"
    if first and not (model / SPEC_FILE).is_file():
        begin(recipe, data, model)
    _wait_for(model / SPEC_FILE)
    check_model(recipe, data, model)
    for number, stage in enumerate(recipe.stages, 1):
        folder = out / f"{number}-{stage.stage}"
        if not (folder / MODEL / SPEC_FILE).is_file():
            torch.set_num_threads(stage.threads)
            log.info("stage %d of %d, %s: %d steps", number, len(recipe.stages), stage.stage, stage.steps)
            if isinstance(stage, Grpo):
                from t1_vectorstore.training import grpo

                grpo.train(stage, model, data, source, folder, recipe.seed)
            else:
                supervised.train(stage, model, data, source, folder, recipe.seed)
        model = folder / MODEL
        _wait_for(model / SPEC_FILE)
    if first:
        from t1_vectorstore.training.plots import draw

        shutil.copytree(model, out / MODEL, dirs_exist_ok=True)
        draw(out, out / FIGURE)
    return out / MODEL


def _claim(recipe: Recipe, source: Path, out: Path) -> None:
    """Make the folder this run's, or see that it is; stages that have trained nothing yet may still be others."""
    if out.exists() and not out.is_dir():
        raise TrainingFailed(f"{out} is no folder: give another one")
    identity = _identity(recipe, source)
    record = out / RECORD
    if record.is_file():
        before = json.loads(record.read_text(encoding="utf-8"))
        begun = _begun(out)
        changed = sorted(name for name in identity.keys() | before.keys() if identity.get(name) != before.get(name))
        if settled := [name for name in changed if begun and _stage_of(name) <= begun]:
            raise TrainingFailed(
                f"the folder {out} is of a run with another {', '.join(settled[:5])}: give another folder, or remove it"
            )
        for folder in out.glob("[0-9]*-*"):
            if changed and (not begun or int(folder.name.split("-")[0]) > begun):
                shutil.rmtree(folder)
    elif out.is_dir() and any(out.iterdir()):
        raise TrainingFailed(f"{out} is not empty and holds no run: give another folder")
    out.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps(identity, indent=1) + "\n", encoding="utf-8")


def _begun(out: Path) -> int:
    """The number of the last stage that has trained something, or 0."""
    trained = [*out.glob("[1-9]*-*/checkpoint-*"), *out.glob(f"[1-9]*-*/{MODEL}")]
    return max((int(path.parent.name.split("-")[0]) for path in trained), default=0)


def _stage_of(name: str) -> int:
    """The stage that a part of a run's identity is of; 0 for what all of them are made of."""
    found = re.match(r"stage (\d+) ", name)
    return int(found[1]) if found else 0


def _identity(recipe: Recipe, source: Path) -> dict[str, Any]:
    values = recipe.model_dump(mode="json")
    identity = {name: values[name] for name in ("model", "thinks", "seed")}
    for number, stage in enumerate(values["stages"], 1):
        identity |= {f"stage {number} {key}": value for key, value in stage.items() if key not in FREE}
    for name in (CORPUS, f"{TRAIN}.jsonl"):
        path = source / name if (source / name).is_file() else source / f"{name}.gz"
        identity[f"data {name}"] = _digest(path)
    return identity


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _check_libraries(recipe: Recipe) -> None:
    from importlib.util import find_spec

    needed = ["torch", "transformers", "accelerate", "tensorboard"]
    needed += ["peft"] * any(stage.lora for stage in recipe.stages)
    needed += ["trl", "datasets"] * any(isinstance(stage, Grpo) for stage in recipe.stages)
    if missing := [name for name in needed if find_spec(name) is None]:
        raise MissingExtraError("train", f"training (it lacks {', '.join(missing)})")


def _is_first() -> bool:
    import os

    return os.environ.get("RANK", "0") == "0"


def _wait_for(file: Path) -> None:
    """The first process writes what the others go on from."""
    while not file.is_file():
        time.sleep(0.5)
