"""Stages 1 and 2 on transformers' Trainer: supervised training on examples, from a checkpoint to a checkpoint."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from transformers import Trainer, TrainingArguments

from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from t1_vectorstore.embedding.prompts import Prompter
from t1_vectorstore.errors import TrainingFailed
from t1_vectorstore.training import losses, mining, teachers
from t1_vectorstore.training.alignment import Alignment
from t1_vectorstore.training.batches import ExampleSampler, TextSampler, TrainingBatch, TrainingBatches
from t1_vectorstore.training.configs import Contrastive, Sft, Stage
from t1_vectorstore.training.distributed import (
    gather_documents,
    is_main_process,
    process_count,
    sum_over_processes,
)
from t1_vectorstore.training.examples import Example, TrainingData, read_split
from t1_vectorstore.training.model import (
    ADAPTER,
    StageStart,
    T1ForTraining,
    add_adapters,
    load_checkpoint,
    save_adapter,
    save_checkpoint,
)
from t1_vectorstore.training.packing import PackedSequences, PromptEncoder, pack
from t1_vectorstore.training.queue import DocumentQueue
from t1_vectorstore.training.trainer import (
    ThoughtProbes,
    check_memory,
    run_trainer,
    training_arguments,
    uses_bfloat16,
)

WEIGHTS_FILE, ALIGNMENT_FILE, QUEUE_FILE = "trained.pt", "alignment.pt", "queue.pt"
FITTED_DOCUMENTS, FITTED_AT_ONCE = 1500, 50
"""Number of documents by which a teacher's vectors are aligned with an untrained model's, in all and in a pass."""


def train(
    stage: Sft | Contrastive,
    start: StageStart,
    data: TrainingData,
    source: Path,
    out: Path,
    seed: int,
) -> None:
    """Train a stage and write the model to ``out/model``, and LoRA adapters to ``out/adapter`` too.

    Args:
        stage: Configuration of the stage.
        start: Model to start from.
        data: Corpus and training examples.
        source: Data folder, for the probed splits.
        out: Folder of the stage; an interrupted run in it is continued.
        seed: Seed of the stage.

    Raises:
        TrainingFailed: The training cannot continue.
        CheckpointError, CorpusError, ValueError: The checkpoint or the data cannot be used.
    """
    # 1. The model.
    language_model, tokenizer, spec = load_checkpoint(start.base)
    encoder = PromptEncoder(Prompter.load(Checkpoint.load(start.base)))
    if stage.gradient_checkpointing:
        language_model.gradient_checkpointing_enable({"use_reentrant": False})
    if stage.lora is not None:
        emb_id, bfloat16 = encoder.prompter.emb_id, uses_bfloat16(stage)
        language_model = add_adapters(language_model, stage.lora, emb_id, adapter=start.adapter, bfloat16=bfloat16)
    model = T1ForTraining(language_model, spec.truncate_dim)
    check_memory(model)

    # 2. The batches, with hard negatives and a teacher if the stage has them.
    batches = _make_batches(stage, start.model, data, encoder, out, seed)

    # 3. The training, from the last checkpoint if there is one.
    trainer = SupervisedTrainer(
        stage=stage,
        model=model,
        args=training_arguments(TrainingArguments, stage, out, seed, per_device_train_batch_size=1),
        train_dataset=batches,
    )
    probes = probe_packs(stage, source, data, encoder) if spec.thinks else {}
    trainer.add_callback(ThoughtProbes(model, probes, stage.probe_every, trainer))
    run_trainer(trainer, stage, out)

    # 4. The trained model.
    if is_main_process():
        if stage.lora is not None:
            save_adapter(model.language_model, spec, out / ADAPTER)
        save_checkpoint(model.language_model, tokenizer, spec, out / "model")


def probe_examples(stage: Stage, source: Path, data: TrainingData) -> dict[str, list[Example]]:
    """Return the first examples with thoughts of each probed split.

    Raises:
        CorpusError: A split is missing or malformed.
        ValueError: A split has no thoughts.
    """
    probes = {}
    for name in stage.probes:
        examples = [e for e in read_split(source, name, data.documents) if e.thought is not None][: stage.probe_queries]
        if not examples:
            raise ValueError(f"the split {name!r} has no thoughts to probe: remove it from probes")
        probes[name] = examples
    return probes


def probe_packs(stage: Stage, source: Path, data: TrainingData, encoder: PromptEncoder) -> dict[str, PackedSequences]:
    """Return the examples of ``probe_examples``, packed."""
    return {
        name: pack(encoder.queries([e.query for e in examples], [e.thought for e in examples]))
        for name, examples in probe_examples(stage, source, data).items()
    }


def _make_batches(
    stage: Sft | Contrastive, start: Path, data: TrainingData, encoder: PromptEncoder, out: Path, seed: int
) -> TrainingBatches:
    """Mine hard negatives, embed with the teacher, and return the batches. Both are kept for a continued run."""
    processes = process_count()
    options: dict[str, Any] = {"thinks": encoder.prompter.spec.thinks, "seed": seed, "processes": processes}
    if not stage.teacher and not stage.distill and not stage.mining:
        return TrainingBatches(data, encoder, stage, **options)
    sampled = ExampleSampler(data.examples, stage.queries, seed).distinct(stage.steps * processes)
    used = TrainingData(data.documents, tuple(sampled))
    if stage.mining and stage.mining.ranked_by == "model":
        negatives = mining.mine_negatives(stage.mining, start, used, out / mining.NEGATIVES_FILE)
        data, used = data.with_negatives(negatives), used.with_negatives(negatives)
    if stage.distill:
        options["texts"] = texts = TextSampler(list(data.documents), stage.distill.texts, seed)
        documents = list(data.documents.values())
        wanted = [example.query for example in used.examples]
        wanted += [data.documents[name] for e in used.examples for name in (*e.positives, *e.negatives)]
        wanted += [documents[number] for number in texts.distinct(stage.steps * processes)]
        if stage.mining:
            ranked = mining.documents_of_sources(stage.mining, data).values()
            wanted += [data.documents[name] for names in ranked for name in names]
        options["distilled"] = teachers.distilled_vectors(stage.distill, list(dict.fromkeys(wanted)), out.parent)
    if stage.mining and stage.mining.ranked_by == "teacher":
        assert stage.distill is not None
        ranked_by = {"teacher": options["distilled"], "duplicate_cosine": stage.distill.duplicate_cosine}
        negatives = mining.mine_negatives(stage.mining, start, used, out / mining.NEGATIVES_FILE, **ranked_by)
        data, used = data.with_negatives(negatives), used.with_negatives(negatives)
    if stage.teacher:
        file = out / teachers.TEACHER_FILE
        options["teacher"] = teachers.embed_with_teacher(stage.teacher, used, stage.teacher_parts, file)
    return TrainingBatches(data, encoder, stage, **options)


def contrastive_losses(
    vectors: Tensor,
    batch: TrainingBatch,
    stage: Stage,
    queue: DocumentQueue | None = None,
    duplicate_cosine: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Return InfoNCE and the triplet margin loss, with the documents of all processes as negatives.

    Args:
        vectors: Vectors of the batch's queries, then of its documents (Q + D, dim); any further ones are ignored.
        batch: The batch.
        stage: Temperature and margin.
        queue: Documents of earlier steps, which are negatives too; those of the batch are added to it.
        duplicate_cosine: Cosine with the positive, by the teacher that is distilled, from which a document is a
            near-duplicate of it and not a negative; 1 is off.
    """
    queries, own, _ = _split(vectors, batch)
    documents, numbers, first = gather_documents(own, batch.documents)
    positives = batch.positives + first
    teacher = own.new_zeros(len(numbers), 0)
    if batch.teacher_vectors is not None:
        teacher = gather_documents(_split(batch.teacher_vectors, batch)[1], batch.documents)[0]
    if queue is not None:
        new = documents, numbers, teacher
        if len(queue.numbers):
            device = own.device
            documents = torch.cat([documents, queue.vectors.to(device)])
            numbers = torch.cat([numbers, queue.numbers.to(device)])
            teacher = torch.cat([teacher, queue.teacher.to(device)])
        queue.add(*new)
    ignored = losses.ignored_documents(batch.relevant, numbers, positives)
    if duplicate_cosine < 1 and batch.teacher_vectors is not None:
        same = teacher[positives] @ teacher.T >= duplicate_cosine
        ignored |= same.scatter_(1, positives[:, None], False)
    nce = losses.info_nce(queries, documents, positives, stage.temperature, ignored)
    triplet = losses.triplet_margin(queries, documents, positives, stage.margin, ignored)
    return nce, triplet


def _split(vectors: Tensor, batch: TrainingBatch) -> tuple[Tensor, Tensor, Tensor]:
    """Return the vectors of the queries, of the documents, and of further texts."""
    queries, documents, texts = vectors.tensor_split([batch.queries, batch.queries + len(batch.documents)])
    return queries, documents, texts


class SupervisedTrainer(Trainer):  # type: ignore[misc] # transformers is not type-checked
    """Trains a ``T1ForTraining`` with the losses of stages 1 and 2."""

    def __init__(self, *, stage: Sft | Contrastive, **options: Any) -> None:  # noqa: ANN401 - transformers'
        """Create a trainer for a stage; the other arguments are those of transformers' Trainer."""
        self.stage = stage
        self._alignment = Alignment(stage.distill.decay, stage.distill.refit_every) if stage.distill else None
        self._queue = DocumentQueue(stage.queue) if stage.queue else None
        self._terms: dict[str, list[float]] = defaultdict(list)
        super().__init__(data_collator=_single_item, **options)

    def training_step(
        self, model: torch.nn.Module, inputs: dict[str, Any], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """Run one forward and backward pass, or several with cached gradients."""
        batch = inputs["batch"].to(self.args.device)
        if self._alignment is not None and not self._alignment.is_fitted:
            self._fit_alignment(self._alignment)
        model.train()
        with self.compute_loss_context_manager():
            loss = self._single_pass(model, batch) if len(batch.passes) == 1 else self._cached_passes(model, batch)
        return loss.detach()

    def _single_pass(self, model: torch.nn.Module, batch: TrainingBatch) -> Tensor:
        [packed] = batch.passes
        vectors, logits = model(packed)
        lm = losses.language_model_loss(logits, packed.labels)
        loss = self._check_finite(self._contrastive_loss(vectors, batch) + self.stage.lm_weight * lm, lm)
        self.accelerator.backward(loss)
        return loss

    def _cached_passes(self, model: torch.nn.Module, batch: TrainingBatch) -> Tensor:
        """Cache gradients (GradCache, arXiv:2101.06983): a large batch with the memory of a single pass.

        The gradients equal those of one pass over the whole batch, because no parameter changes between the two
        rounds and nothing in them is random.
        """
        # 1. All vectors without gradients, and the gradient of the loss with respect to them.
        with torch.no_grad():
            vectors = torch.cat([model(packed)[0] for packed in batch.passes])
        vectors.requires_grad_()
        contrastive = self._contrastive_loss(vectors, batch)
        [gradients] = torch.autograd.grad(contrastive, vectors)
        # 2. Each pass again, with the gradients of its vectors.
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
        return self._check_finite(contrastive.detach() + self.stage.lm_weight * lm, lm)

    def _contrastive_loss(self, vectors: Tensor, batch: TrainingBatch) -> Tensor:
        """Return the weighted losses on vectors."""
        stage = self.stage
        duplicate_cosine = stage.distill.duplicate_cosine if stage.distill else 1.0
        nce, triplet = contrastive_losses(vectors, batch, stage, self._queue, duplicate_cosine)
        self._record(nce=nce, triplet=triplet)
        loss = stage.info_nce_weight * nce + stage.triplet_weight * triplet
        if batch.teacher is not None:
            queries, documents, _ = _split(vectors, batch)
            distillation = losses.distillation(queries, documents, batch.teacher, stage.temperature)
            self._record(distillation=distillation)
            loss = loss + stage.teacher_weight * distillation
        if self._alignment is not None:
            loss = loss + self._vector_distillation(vectors, batch, self._alignment)
        return loss

    def _vector_distillation(self, vectors: Tensor, batch: TrainingBatch, alignment: Alignment) -> Tensor:
        """Return the weighted loss to the teacher's vectors, then let the alignment follow the model."""
        assert self.stage.distill is not None
        assert batch.teacher_vectors is not None
        queries, documents, texts = (
            losses.vector_distillation(own, target)
            for own, target in zip(_split(vectors, batch), _split(alignment(batch.teacher_vectors), batch), strict=True)
        )
        self._record(distill_queries=queries, distill_documents=documents, distill_texts=texts)
        with torch.no_grad():
            # Without queries: what they are to be is a compromise, and so is what the model makes of them.
            own, target = vectors[batch.queries :].float(), batch.teacher_vectors[batch.queries :]
            alignment.update(sum_over_processes(own.T @ target))
        weights = self.stage.distill
        return weights.weight * (documents + texts) + weights.query_weight * queries

    def _fit_alignment(self, alignment: Alignment) -> None:
        """Fit the alignment to the vectors of the untrained model."""
        passes, targets = cast(TrainingBatches, self.train_dataset).fitting_batch(FITTED_AT_ONCE, FITTED_DOCUMENTS)
        model = self.accelerator.unwrap_model(self.model)
        alignment.fit(model.vectors(passes, bfloat16=self.args.bf16), targets.to(self.args.device))

    def _check_finite(self, loss: Tensor, lm: Tensor) -> Tensor:
        self._record(lm=lm)
        if not math.isfinite(value := loss.item()):
            raise TrainingFailed(f"the loss is {value} at step {self.state.global_step}: lower the learning rate")
        return loss

    def _record(self, **values: Tensor) -> None:
        for name, value in values.items():
            self._terms[name].append(value.item())

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log the metrics, with the mean of each loss term since the last report."""
        if "loss" in logs:
            logs |= {name: math.fsum(values) / len(values) for name, values in self._terms.items()}
            self._terms.clear()
        super().log(logs, start_time)

    def _get_train_sampler(self, *_: Any) -> torch.utils.data.Sampler[int]:  # noqa: ANN401 - transformers'
        """Keep the order: the number of a step determines its batch."""
        return torch.utils.data.SequentialSampler(cast(TrainingBatches, self.train_dataset))

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:  # noqa: ANN401 - transformers'
        """Save the trainable parameters; tied weights are saved once."""
        folder = Path(output_dir or str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        parameters = self.accelerator.unwrap_model(self.model).named_parameters()
        torch.save({name: p.detach().cpu() for name, p in parameters if p.requires_grad}, folder / WEIGHTS_FILE)
        for part, file in self._parts():
            torch.save(part.state_dict(), folder / file)

    def _parts(self) -> Iterator[tuple[Alignment | DocumentQueue, str]]:
        """Yield what a continued run needs beside the weights, and its file."""
        if self._alignment is not None:
            yield self._alignment, ALIGNMENT_FILE
        if self._queue is not None:
            yield self._queue, QUEUE_FILE

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:  # noqa: ANN401
        state = torch.load(Path(resume_from_checkpoint) / WEIGHTS_FILE, map_location="cpu", weights_only=True)
        parameters = dict(self.accelerator.unwrap_model(model or self.model).named_parameters())
        if missing := sorted(name for name, p in parameters.items() if p.requires_grad and name not in state):
            raise TrainingFailed(f"{resume_from_checkpoint} belongs to another run: it lacks the weights {missing[:2]}")
        with torch.no_grad():
            for name, value in state.items():
                parameters[name].copy_(value)
        for part, file in self._parts():
            part.load_state_dict(torch.load(Path(resume_from_checkpoint) / file, map_location="cpu", weights_only=True))


def _single_item(items: list[TrainingBatch]) -> dict[str, TrainingBatch]:
    """Return the only item, which is a whole batch, in a mapping as the Trainer expects."""
    [batch] = items
    return {"batch": batch}
