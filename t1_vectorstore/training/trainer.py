"""Stages 1 and 2 on transformers' Trainer: what a step computes, what is logged, what stops a run."""

from __future__ import annotations

import math
from collections import defaultdict
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from transformers import Trainer, TrainerCallback

from t1_vectorstore.errors import TrainingFailed
from t1_vectorstore.training import losses
from t1_vectorstore.training.batches import Steps
from t1_vectorstore.training.batching import Batch, Packed
from t1_vectorstore.training.configs import Contrastive, Sft
from t1_vectorstore.training.distributed import gather
from t1_vectorstore.training.model import T1ForTraining
from t1_vectorstore.training.optimizers import make_optimizer

WEIGHTS = "trained.pt"


class T1Trainer(Trainer):
    """Trains a :class:`T1ForTraining` by the losses of a stage."""

    def __init__(self, *, stage: Sft | Contrastive, **options: Any) -> None:  # noqa: ANN401 - transformers'
        """Take a stage beside what transformers' Trainer takes."""
        self.stage = stage
        self._parts: dict[str, list[float]] = defaultdict(list)
        collator: Any = _only
        super().__init__(data_collator=collator, **options)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:  # noqa: ANN401 - transformers'
        """The stage's optimizer."""
        if self.optimizer is None:
            trained: Any = self.model if model is None else model
            self.optimizer = make_optimizer(trained, self.stage)
        return self.optimizer

    def training_step(  # type: ignore[override] # a step is a Batch, and no mapping
        self, model: torch.nn.Module, inputs: Batch, num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """One forward and backward pass, or with several packs those of gradient caching."""
        batch = inputs.to(self.args.device)
        model.train()
        with self.compute_loss_context_manager():
            loss = self._whole(model, batch) if len(batch.passes) == 1 else self._cached(model, batch)
        return loss.detach()

    def _whole(self, model: torch.nn.Module, batch: Batch) -> Tensor:
        [packed] = batch.passes
        vectors, logits = model(packed)
        lm = losses.language_model_loss(logits, packed.labels)
        loss = self._checked(self._contrastive(vectors, batch) + self.stage.lm_weight * lm, lm)
        self.accelerator.backward(loss)
        return loss

    def _cached(self, model: torch.nn.Module, batch: Batch) -> Tensor:
        """Gradient caching (arXiv:2101.06983): the loss of all vectors, then each pack with its vectors' gradients.

        The gradients are those of one pass over everything, since no parameter changes and nothing is random between
        the two passes; the memory is that of one pack.
        """
        with torch.no_grad():
            vectors = torch.cat([model(packed)[0] for packed in batch.passes])
        vectors.requires_grad_()
        contrastive = self._contrastive(vectors, batch)
        [gradients] = torch.autograd.grad(contrastive, vectors)
        labels = sum(len(packed.predicted) for packed in batch.passes)
        lm, start = vectors.new_zeros(()), 0
        for number, packed in enumerate(batch.passes, 1):
            rows = slice(start, start := start + len(packed.ends))
            last = number == len(batch.passes)
            with self.accelerator.no_sync(model) if not last else nullcontext():
                again, logits = model(packed)
                share = losses.language_model_loss(logits, packed.labels) * len(packed.predicted) / max(1, labels)
                self.accelerator.backward((again * gradients[rows]).sum() + self.stage.lm_weight * share)
            lm = lm + share.detach()
        return self._checked(contrastive.detach() + self.stage.lm_weight * lm, lm)

    def _contrastive(self, vectors: Tensor, batch: Batch) -> Tensor:
        """The losses on vectors, against the documents of all processes."""
        stage = self.stage
        queries, own = vectors[: batch.queries], vectors[batch.queries :]
        documents, numbers, first = gather(own, batch.documents)
        positives = batch.positives + first
        ignored = (batch.relevant[:, :, None] == numbers).any(1)
        ignored.scatter_(1, positives[:, None], False)
        nce = losses.info_nce(queries, documents, positives, stage.temperature, ignored)
        triplet = losses.triplet_margin(queries, documents, positives, stage.margin, ignored)
        self._note(nce=nce, triplet=triplet)
        loss = stage.info_nce_weight * nce + stage.triplet_weight * triplet
        if batch.teacher is not None:
            distilled = losses.distillation(queries, own, batch.teacher, stage.temperature)
            self._note(distillation=distilled)
            loss = loss + stage.teacher_weight * distilled
        return loss

    def _checked(self, loss: Tensor, lm: Tensor) -> Tensor:
        self._note(lm=lm)
        if not math.isfinite(value := loss.item()):
            raise TrainingFailed(f"the loss is {value} at step {self.state.global_step}: lower the learning rate")
        return loss

    def _note(self, **values: Tensor) -> None:
        for name, value in values.items():
            self._parts[name].append(value.item())

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the means of the losses since the last time."""
        if "loss" in logs:
            logs |= {name: math.fsum(values) / len(values) for name, values in self._parts.items()}
            self._parts.clear()
        super().log(logs, start_time)

    def _get_num_items_in_batch(self, *_: Any) -> None:  # noqa: ANN401 - transformers'
        """A step is one batch, whose losses are means."""

    def floating_point_ops(self, *_: Any) -> int:  # noqa: ANN401 - transformers'
        """Not counted."""
        return 0

    def _get_train_sampler(self, *_: Any) -> torch.utils.data.Sampler[int]:  # noqa: ANN401 - transformers'
        """In order: what a step draws is decided by its number."""
        return torch.utils.data.SequentialSampler(cast(Steps, self.train_dataset))

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:  # noqa: ANN401 - transformers'
        """Only what is trained, and what is shared between two places once."""
        folder = Path(output_dir or str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(trained_weights(self.accelerator.unwrap_model(self.model)), folder / WEIGHTS)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:  # noqa: ANN401
        state = torch.load(Path(resume_from_checkpoint) / WEIGHTS, map_location="cpu", weights_only=True)
        own = dict(self.accelerator.unwrap_model(model or self.model).named_parameters())
        if missing := sorted(name for name, p in own.items() if p.requires_grad and name not in state):
            raise TrainingFailed(f"{resume_from_checkpoint} lacks the weights {missing[:2]}: it is of another run")
        with torch.no_grad():
            for name, value in state.items():
                own[name].copy_(value)


def trained_weights(model: torch.nn.Module) -> dict[str, Tensor]:
    """The parameters that are trained, by name."""
    return {name: p.detach().cpu() for name, p in model.named_parameters() if p.requires_grad}


class Probes(TrainerCallback):
    """Counts exact thoughts on held-out splits, every so many steps and at the end."""

    def __init__(self, model: T1ForTraining, splits: dict[str, Packed], every: int, trainer: Trainer) -> None:
        """Probe ``model`` on packs of queries with their thoughts, by the name of their split."""
        self._model, self._splits, self._every, self._trainer = model, splits, every, trainer

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ANN401 - transformers'
        """Probe, if it is time."""
        if self._splits and (state.global_step % self._every == 0 or state.global_step == state.max_steps):
            device = args.device
            with torch.autocast(device.type, torch.bfloat16, enabled=args.bf16):
                exact = {f"exact/{n}": self._model.exact_thoughts(p.to(device)) for n, p in self._splits.items()}
            due = control.should_log
            self._trainer.log(exact)
            control.should_log = due  # a report clears it, and that of the losses may still be to come


def _only(items: list[Batch]) -> Batch:
    """An item of the dataset is a whole step."""
    [batch] = items
    return batch
