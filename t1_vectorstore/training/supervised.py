"""Stages 1 and 2: from a checkpoint to a checkpoint, on examples."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from t1_vectorstore.embedding.prompts import Prompter
from t1_vectorstore.training import model as models
from t1_vectorstore.training import trainer_options
from t1_vectorstore.training.batches import Draw, Steps, Teacher, with_negatives
from t1_vectorstore.training.batching import Encoder, Packed, pack
from t1_vectorstore.training.configs import Contrastive, Sft, Stage
from t1_vectorstore.training.examples import Example, TrainingData, read_split
from t1_vectorstore.training.trainer import Probes, T1Trainer

log = logging.getLogger(__name__)


def train(stage: Sft | Contrastive, start: Path, data: TrainingData, source: Path, out: Path, seed: int) -> None:
    """Train, and write the model to ``out/model``.

    Args:
        stage: What to do.
        start: The checkpoint to begin with.
        data: The corpus and the training examples.
        source: The folder of the data, for the splits that are probed.
        out: Folder of the stage; what it holds of an earlier run is continued.
        seed: Of the run.

    Raises:
        TrainingFailed: The run cannot go on.
        CheckpointError, CorpusError, ValueError: What it is to begin with does not fit.
    """
    from transformers import TrainingArguments

    # 1. The model.
    language_model, tokenizer, spec = models.load(start)
    encoder = Encoder(Prompter(tokenizer.backend_tokenizer, spec))
    if stage.gradient_checkpointing:
        language_model.gradient_checkpointing_enable({"use_reentrant": False})
    if stage.lora is not None:
        from peft import get_peft_model

        language_model.enable_input_require_grads()
        language_model = get_peft_model(language_model, trainer_options.adapters(stage.lora, encoder.prompter.emb_id))
    model = models.T1ForTraining(language_model, spec.truncate_dim)
    trainer_options.check_memory(model)

    # 2. What each step sees.
    teacher = None
    processes = trainer_options.several_processes()
    if stage.teacher or isinstance(stage, Contrastive):
        drawn = Draw(data.examples, stage.queries, seed).all(stage.steps * processes)
        data, teacher = _harder(stage, start, data, drawn, out)
    steps = Steps(data, encoder, stage, thinks=spec.thinks, seed=seed, processes=processes, teacher=teacher)

    # 3. Train, from the last checkpoint if there is one.
    trainer = T1Trainer(
        stage=stage,
        model=model,
        args=TrainingArguments(per_device_train_batch_size=1, **trainer_options.arguments(stage, out, seed)),
        train_dataset=steps,
    )
    probes = probe_packs(stage, source, data, encoder) if spec.thinks else {}
    trainer.add_callback(Probes(model, probes, stage.probe_every, trainer))
    trainer_options.run(trainer, out)

    # 4. Write the model.
    if trainer_options.is_first():
        models.save(merged(model.language_model), tokenizer, spec, out / "model")


def merged(language_model: Any) -> Any:  # noqa: ANN401 - transformers'
    """The model with its adapters, if it has some, worked into its weights."""
    return language_model.merge_and_unload() if hasattr(language_model, "peft_config") else language_model


def probe_examples(stage: Stage, source: Path, data: TrainingData) -> dict[str, list[Example]]:
    """The first examples of each probed split that have a thought.

    Raises:
        CorpusError: A split is missing or malformed.
        ValueError: A split has no thoughts.
    """
    found = {}
    for name in stage.probes:
        examples = [e for e in read_split(source, name, data.documents) if e.thought is not None][: stage.probe_queries]
        if not examples:
            raise ValueError(f"the split {name!r} has no thoughts to probe: leave it out of probes")
        found[name] = examples
    return found


def probe_packs(stage: Stage, source: Path, data: TrainingData, encoder: Encoder) -> dict[str, Packed]:
    """The same, packed; raises as :func:`probe_examples`."""
    return {
        name: pack(encoder.queries([e.query for e in examples], [e.thought for e in examples]))
        for name, examples in probe_examples(stage, source, data).items()
    }


def _harder(
    stage: Sft | Contrastive, start: Path, data: TrainingData, drawn: Sequence[Example], out: Path
) -> tuple[TrainingData, Teacher | None]:
    """Mine negatives and read the teacher; both are kept in ``out``, so that a continued run has the same ones."""
    from t1_vectorstore.training import mining

    asked = TrainingData(data.documents, tuple(drawn))
    if isinstance(stage, Contrastive) and stage.mining is not None:
        negatives = mining.mined(stage.mining, start, asked, out / mining.FILE)
        data, asked = with_negatives(data, negatives), with_negatives(asked, negatives)
    teacher = (
        mining.read_teacher(stage.teacher, asked, stage.teacher_parts, out / mining.TEACHER) if stage.teacher else None
    )
    return data, teacher
