"""What a stage asks of transformers' Trainer and of TRL's, and what both tell."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback

from t1_vectorstore.errors import TrainingFailed
from t1_vectorstore.training.configs import Lora, Stage

log = logging.getLogger(__name__)
STATE = "trainer_state.json"


def arguments(stage: Stage, folder: Path, seed: int) -> dict[str, Any]:
    """The arguments that all stages share, of ``transformers.TrainingArguments`` and its heirs."""
    return {
        "output_dir": str(folder),
        "max_steps": stage.steps,
        "learning_rate": stage.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": stage.warmup_steps,
        "weight_decay": stage.weight_decay,
        "max_grad_norm": stage.clip,
        "bf16": stage.precision == "bf16",
        "use_cpu": not torch.cuda.is_available(),
        "gradient_checkpointing": False,  # switched on in the model, which the Trainer does not reach
        "seed": seed,
        "logging_steps": stage.log_every,
        "logging_first_step": True,
        "report_to": "tensorboard",
        "save_strategy": "steps",
        "save_steps": stage.save_every,
        "save_total_limit": 2,
        "remove_unused_columns": False,
        "ddp_find_unused_parameters": False,
        "average_tokens_across_devices": False,
        "disable_tqdm": True,
    }


def adapters(lora: Lora, emb_id: int | None = None) -> Any:  # noqa: ANN401 - peft's
    """The configuration of LoRA adapters; they also train the emb token's embedding, if its id is given."""
    from peft import LoraConfig

    targets = lora.targets if isinstance(lora.targets, str) else list(lora.targets)
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        target_modules=targets,
        trainable_token_indices=None if emb_id is None else [emb_id],
        task_type="CAUSAL_LM",
    )


def run(trainer: Trainer, folder: Path) -> None:
    """Train to the end, from the folder's last checkpoint if there is one.

    Raises:
        TrainingFailed: The loss is no number, the memory is too small, or training cannot go on for another reason.
    """
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(_Told())
    found = last_checkpoint(folder)
    if found is not None:
        log.info("going on from %s", found)
    try:
        trainer.train(resume_from_checkpoint=str(found) if found else None)
    except torch.OutOfMemoryError as error:
        raise TrainingFailed(f"a step does not fit into the device's memory: {_REMEDY}") from error
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError) or "allocate memory" in str(error):
            raise TrainingFailed(f"a step does not fit into memory: {_REMEDY}") from error
        raise


_REMEDY = "lower queries (or at_once), set gradient_checkpointing: true, or train adapters with lora: {}"


def check_memory(model: torch.nn.Module) -> None:
    """Refuse a model whose weights, gradients and optimizer states alone do not fit.

    Raises:
        TrainingFailed: They do not.
    """
    import psutil

    weights = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    needed = 4 * weights + 12 * trained  # float32; a gradient and AdamW's two moments
    on_gpu = torch.cuda.is_available()
    free = torch.cuda.mem_get_info()[0] if on_gpu else psutil.virtual_memory().available + 4 * weights
    if needed > free:
        raise TrainingFailed(
            f"training needs {needed / 2**30:.1f} GiB for weights, gradients and optimizer alone, and "
            f"{free / 2**30:.1f} GiB are free: train adapters with lora: {{}}, or take a smaller model"
        )


def last_checkpoint(folder: Path) -> Path | None:
    """The latest checkpoint that was written to its end: the Trainer's state comes last."""
    found = [path for path in folder.glob("checkpoint-*") if (path / STATE).is_file()]
    return max(found, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def several_processes() -> int:
    """How many processes train together, as the launcher says."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this process is the one that writes."""
    return os.environ.get("RANK", "0") == "0"


_SHOWN = (
    "loss",
    "lm",
    "nce",
    "triplet",
    "distill",
    "replay",
    "reward",
    "exact",
    "thoughts/",
    "kl",
    "grad",
    "learning_rate",
)


class _Told(TrainerCallback):
    """Hands the Trainer's reports to ``logging``."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:  # noqa: ANN401
        """One line."""
        if state.is_world_process_zero:
            figures = {n: v for n, v in logs.items() if isinstance(v, int | float) and n.startswith(_SHOWN)}
            if figures:
                log.info("step %d: %s", state.global_step, ", ".join(f"{k} {v:.4g}" for k, v in figures.items()))
