"""What all stages share on top of transformers' Trainer: arguments, optimizer, memory check, probes and logging."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback, TrainingArguments

from t1_vectorstore.backends.devices import bfloat16_is_faster
from t1_vectorstore.errors import TrainingFailed
from t1_vectorstore.training.configs import Stage
from t1_vectorstore.training.model import EMB_TOKEN_ROW, T1ForTraining
from t1_vectorstore.training.packing import PackedSequences

log = logging.getLogger(__name__)
STATE_FILE = "trainer_state.json"
EMB_TOKEN_FACTOR = 10.0
"""Default of ``Lora.emb_token_rate`` as a multiple of the stage's rate."""
LOGGED = ("loss", "lm", "nce", "triplet", "distill", "replay", "reward", "exact", "thoughts/", "kl", "grad", "learning")
"""Prefixes of the metrics that are logged as text; TensorBoard gets all of them."""


def training_arguments(kind: type[TrainingArguments], stage: Stage, folder: Path, seed: int, **own: Any) -> Any:  # noqa: ANN401 - the same
    """Create arguments of a kind for the Trainer: those that all stages share, and the kind's own.

    A process trains on one GPU. The Trainer would split batches among all that it sees (``DataParallel``), which a
    batch of packed sequences does not allow; for several GPUs a launcher starts a process for each.
    """
    shared = {
        "output_dir": str(folder),
        "max_steps": stage.steps,
        "learning_rate": stage.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": stage.warmup_steps,
        "weight_decay": stage.weight_decay,
        "max_grad_norm": stage.clip,
        "bf16": uses_bfloat16(stage),
        "use_cpu": not torch.cuda.is_available(),
        "gradient_checkpointing": False,  # enabled on the model itself: the Trainer sees only its wrapper
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
    arguments: Any = kind(**shared, **own)
    if arguments.n_gpu > 1:
        log.info("training on one of %d GPUs; to use all, start it with torchrun", arguments.n_gpu)
        arguments._n_gpu = 1
    return arguments


def uses_bfloat16(stage: Stage) -> bool:
    """Return whether the stage computes in bfloat16; ``auto`` depends on this machine."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return bfloat16_is_faster(device) if stage.precision == "auto" else stage.precision == "bf16"


def make_optimizer(model: torch.nn.Module, stage: Stage) -> torch.optim.Optimizer:
    """Create the optimizer for the trainable parameters of a model.

    Raises:
        TrainingFailed: The stage uses Muon, which this version of torch does not have.
    """
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    rate, decay = stage.learning_rate, stage.weight_decay
    muon = stage.optimizer == "muon"
    if muon and not hasattr(torch.optim, "Muon"):
        raise TrainingFailed(f"torch {torch.__version__} has no Muon optimizer: install torch 2.9, or use adamw")
    embeddings, matrices, others, emb_token = [], [], [], []
    for name, parameter in trainable.items():
        if EMB_TOKEN_ROW in name:
            emb_token.append(parameter)
        elif "embed_tokens" in name:
            embeddings.append(parameter)
        elif muon and parameter.ndim == 2 and ".layers." in name:
            matrices.append(parameter)
        else:
            others.append(parameter)
    groups = [
        {"params": embeddings, "lr": rate if stage.embedding_rate is None else stage.embedding_rate},
        {"params": others, "lr": rate},
    ]
    if stage.lora is not None:
        token_rate = EMB_TOKEN_FACTOR * rate if stage.lora.emb_token_rate is None else stage.lora.emb_token_rate
        # No decay: it would pull the row to zero, not to where it began.
        groups.append({"params": emb_token, "lr": token_rate, "weight_decay": 0.0})
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
        """Load a dictionary that ``state_dict`` returned."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)


def check_memory(model: torch.nn.Module) -> None:
    """Check that weights, gradients and optimizer states fit into memory.

    Raises:
        TrainingFailed: They do not fit.
    """
    import psutil

    weights = sum(p.numel() * p.element_size() for p in model.parameters())  # those under adapters may be bfloat16
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    needed = weights + 12 * trainable  # a gradient and AdamW's two moments, in float32
    gpu = torch.cuda.is_available()  # otherwise the weights are in memory already
    free = torch.cuda.mem_get_info()[0] if gpu else psutil.virtual_memory().available + weights
    if needed > free:
        raise TrainingFailed(
            f"training needs {needed / 2**30:.1f} GiB for weights, gradients and optimizer alone, but only "
            f"{free / 2**30:.1f} GiB are free: train adapters with lora: {{}}, or use a smaller model"
        )


def run_trainer(trainer: Any, stage: Stage, folder: Path) -> None:  # noqa: ANN401 - TRL's has no types
    """Train to the last step, from the folder's last checkpoint if there is one.

    Raises:
        TrainingFailed: The loss is not finite, a step does not fit into memory, or the trainer stops the run.
    """
    trainer.optimizer = make_optimizer(trainer.model, stage)
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(LogReporter())
    if checkpoint := _last_checkpoint(folder):
        log.info("continuing from %s", checkpoint)
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except (MemoryError, RuntimeError) as error:
        gpu = isinstance(error, torch.OutOfMemoryError)
        if gpu or isinstance(error, MemoryError) or "allocate memory" in str(error):
            raise TrainingFailed(
                f"a step does not fit into {'GPU ' if gpu else ''}memory: lower queries (or at_once), set "
                "gradient_checkpointing: true, or train adapters with lora: {}"
            ) from error
        raise


def _last_checkpoint(folder: Path) -> Path | None:
    """Return the last complete checkpoint: the Trainer writes its state file last."""
    found = [path for path in folder.glob("checkpoint-*") if (path / STATE_FILE).is_file()]
    return max(found, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


class ThoughtProbes(TrainerCallback):  # type: ignore[misc] # transformers is not type-checked
    """Logs the share of exact thoughts on held-out splits, at intervals and at the end."""

    def __init__(self, model: T1ForTraining, splits: dict[str, PackedSequences], every: int, trainer: Trainer) -> None:
        """Measure packed queries with thoughts, by the name of their split, every ``every`` steps."""
        self._model, self._splits, self._every, self._trainer = model, splits, every, trainer

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ANN401 - transformers'
        """Measure the splits if this step is due."""
        if self._splits and (state.global_step % self._every == 0 or state.global_step == state.max_steps):
            device = args.device
            with torch.autocast(device.type, torch.bfloat16, enabled=args.bf16):
                exact = {f"exact/{n}": self._model.exact_thoughts(p.to(device)) for n, p in self._splits.items()}
            should_log = control.should_log
            self._trainer.log(exact)
            control.should_log = should_log  # log() clears it, and the losses of this step may not be logged yet


class LogReporter(TrainerCallback):  # type: ignore[misc] # transformers is not type-checked
    """Writes the Trainer's metrics to ``logging``, one line for each report."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:  # noqa: ANN401
        """Write a line."""
        if state.is_world_process_zero:
            metrics = {n: v for n, v in logs.items() if isinstance(v, int | float) and n.startswith(LOGGED)}
            if metrics:
                log.info("step %d: %s", state.global_step, ", ".join(f"{k} {v:.4g}" for k, v in metrics.items()))
