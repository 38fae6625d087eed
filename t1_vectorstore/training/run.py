"""Run a recipe: write the initial model, then train the stages, each from the model of the one before.

out/run.json             recipe and digests of the data; a continued run may only change stages that have not started
out/0-begin/             initial checkpoint
out/1-sft/               checkpoints, TensorBoard files (runs/), trainer_state.json, and model/ at the end
out/1-sft/adapter/       LoRA adapters, if the stage trains them
out/2-grpo/              the same for the next stage
out/teacher-*.npy        vectors of a teacher that is distilled
out/model/               trained model
out/training.png         losses and exact thoughts of all stages
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from t1_vectorstore.checkpoints.checkpoint import SPEC_FILE
from t1_vectorstore.errors import MissingExtraError, TrainingFailed
from t1_vectorstore.training.configs import Grpo, Recipe
from t1_vectorstore.training.examples import CORPUS_FILE, TRAIN, data_file, read_data

log = logging.getLogger(__name__)
RUN_FILE, MODEL, FIGURE = "run.json", "model", "training.png"
PROCESSES = "number of processes"
CHANGEABLE = {"threads", "log_every", "save_every", "probes", "probe_every", "probe_queries"}
"""Fields of a stage that do not influence the weights, so that a continued run may change them."""


def train(recipe: Recipe, source: Path, out: Path) -> Path:
    """Run a recipe, or continue an interrupted run.

    Args:
        recipe: Configuration of the run.
        source: Folder of training data, see ``t1_vectorstore.training.examples``.
        out: Folder of the run.

    Returns:
        Folder of the trained model, a checkpoint for ``T1Embedder.load``.

    Raises:
        CorpusError: The data is missing or malformed; the message names file and line.
        TrainingFailed: ``out`` belongs to another run, or the training cannot continue.
        MissingExtraError: The ``train`` extra is not installed.
        CheckpointError, ValueError: The recipe does not fit the model or the data.
    """
    _check_libraries(recipe)
    import torch
    from transformers import set_seed
    from transformers.utils import logging as transformers_logging

    from t1_vectorstore.training import supervised
    from t1_vectorstore.training.checks import check_data, check_model
    from t1_vectorstore.training.distributed import is_main_process, wait_for_file
    from t1_vectorstore.training.init_model import write_initial_model
    from t1_vectorstore.training.model import ADAPTER, StageStart

    # 1. Check the data and the folder before anything is written.
    data = read_data(source)
    check_data(recipe, data, source)
    if is_main_process():
        _claim_folder(recipe, source, out)

    # 2. Write the initial model. Other processes wait for what the main process writes.
    transformers_logging.disable_progress_bar()  # only the command line shows progress
    transformers_logging.set_verbosity_error()  # it warns of tied weights as missing
    model = out / "0-begin"
    if is_main_process() and not (model / SPEC_FILE).is_file():
        write_initial_model(recipe, data, model)
    wait_for_file(model / SPEC_FILE)
    check_model(recipe, data, model)

    # 3. Train the stages that are not done. Adapters of one stage are continued in the next.
    start = StageStart(model, model)
    for number, stage in enumerate(recipe.stages, 1):
        folder = out / f"{number}-{stage.stage}"
        if not (folder / MODEL / SPEC_FILE).is_file():
            torch.set_num_threads(stage.threads)
            seed = _seed_of_stage(recipe, number)
            set_seed(seed)  # new adapters begin at random
            log.info("stage %d of %d, %s: %d steps", number, len(recipe.stages), stage.stage, stage.steps)
            if isinstance(stage, Grpo):
                from t1_vectorstore.training import grpo

                grpo.train(stage, start, data, source, folder, seed)
            else:
                supervised.train(stage, start, data, source, folder, seed)
        model = folder / MODEL
        wait_for_file(model / SPEC_FILE)
        if not _continues_adapters(recipe, number + 1):
            start = StageStart(model, model)
        elif not (folder / ADAPTER).is_dir():
            raise TrainingFailed(f"{folder} has no {ADAPTER}/ for the next stage to continue: begin in another folder")
        else:
            start = StageStart(model, start.base, folder / ADAPTER)

    # 4. Copy the last model, and plot the run.
    if is_main_process():
        from t1_vectorstore.training.plots import plot_run

        shutil.copytree(model, out / MODEL, dirs_exist_ok=True)
        plot_run(out, out / FIGURE)
    return out / MODEL


def _seed_of_stage(recipe: Recipe, number: int) -> int:
    """Return the seed of a stage, counted from 1: with that of the stage before it would draw the same examples."""
    return (recipe.seed + 1000 * (number - 1)) % 2**32


def _continues_adapters(recipe: Recipe, number: int) -> bool:
    """Return whether a stage, counted from 1, continues the adapters of the one before: those of the same shape."""
    if not 1 < number <= len(recipe.stages):
        return False
    before, lora = (stage.lora for stage in recipe.stages[number - 2 : number])
    if before is None or lora is None:
        return False
    return (before.rank, before.alpha, before.targets) == (lora.rank, lora.alpha, lora.targets)


def _claim_folder(recipe: Recipe, source: Path, out: Path) -> None:
    """Create the folder of the run, or check that it belongs to this run; stages that have not started may differ."""
    if out.exists() and not out.is_dir():
        raise TrainingFailed(f"{out} is not a folder: choose another one")
    identity = _identity(recipe, source)
    file = out / RUN_FILE
    if file.is_file():
        before = {PROCESSES: 1, **json.loads(file.read_text(encoding="utf-8"))}
        started = _last_started_stage(out)
        changed = sorted(name for name in identity.keys() | before.keys() if identity.get(name) != before.get(name))
        if fixed := [name for name in changed if started and _stage_of(name) <= started]:
            raise TrainingFailed(
                f"{out} belongs to a run with another {', '.join(fixed[:5])}: choose another folder, or remove it"
            )
        for folder in out.glob("[0-9]*-*"):
            if changed and (not started or int(folder.name.split("-")[0]) > started):
                shutil.rmtree(folder)
    elif out.is_dir() and any(out.iterdir()):
        raise TrainingFailed(f"{out} is not empty and contains no run: choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(identity, indent=1) + "\n", encoding="utf-8")


def _last_started_stage(out: Path) -> int:
    """Return the number of the last stage with a checkpoint or a model, or 0."""
    trained = [*out.glob("[1-9]*-*/checkpoint-*"), *out.glob(f"[1-9]*-*/{MODEL}")]
    return max((int(path.parent.name.split("-")[0]) for path in trained), default=0)


def _stage_of(name: str) -> int:
    """Return the stage that a key of a run's identity belongs to; 0 if it concerns the whole run."""
    match = re.match(r"stage (\d+) ", name)
    return int(match[1]) if match else 0


def _identity(recipe: Recipe, source: Path) -> dict[str, Any]:
    from t1_vectorstore.training.distributed import process_count

    values = recipe.model_dump(mode="json")
    identity = {name: values[name] for name in ("model", "thinks", "seed")} | {PROCESSES: process_count()}
    for number, stage in enumerate(values["stages"], 1):
        identity |= {f"stage {number} {key}": value for key, value in stage.items() if key not in CHANGEABLE}
        if number > 1:
            identity[f"stage {number} seed"] = _seed_of_stage(recipe, number)
        if _continues_adapters(recipe, number):
            identity[f"stage {number} start of its adapters"] = "those of the stage before"
        if vectors := (stage.get("distill") or {}).get("vectors"):
            identity[f"stage {number} distill vectors"] = hashlib.sha256(Path(vectors).read_bytes()).hexdigest()
    for name in (CORPUS_FILE, f"{TRAIN}.jsonl"):
        identity[f"data {name}"] = hashlib.sha256(data_file(source, name).read_bytes()).hexdigest()
    return identity


def _check_libraries(recipe: Recipe) -> None:
    needed = ["torch", "transformers", "accelerate", "tensorboard"]
    needed += ["peft"] * any(stage.lora for stage in recipe.stages)
    needed += ["trl", "datasets"] * any(isinstance(stage, Grpo) for stage in recipe.stages)
    if missing := [name for name in needed if find_spec(name) is None]:
        raise MissingExtraError("train", f"training (missing: {', '.join(missing)})")
