"""Stage 3 on TRL's GRPOTrainer: groups of sampled thoughts, rewarded for what their vectors retrieve.

TRL provides the policy gradient, the reference model with its KL divergence, and the schedule. This module adds what
TRL does not have: the prompts (TRL's tokenization would read special tokens out of a user's text), the reward, which
needs the policy's own vectors, and stage 1's loss on replayed examples.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor

from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from t1_vectorstore.embedding.prompts import Prompter
from t1_vectorstore.errors import TrainingFailed
from t1_vectorstore.training import losses
from t1_vectorstore.training.batches import ExampleSampler, TrainingBatch, TrainingBatches
from t1_vectorstore.training.configs import Grpo
from t1_vectorstore.training.distributed import is_main_process, process_count
from t1_vectorstore.training.examples import Example, TrainingData
from t1_vectorstore.training.model import (
    ADAPTER,
    EMB_TOKEN_ROW,
    REFERENCE,
    StageStart,
    T1ForTraining,
    add_adapters,
    load_checkpoint,
    save_adapter,
    save_checkpoint,
)
from t1_vectorstore.training.packing import PromptEncoder
from t1_vectorstore.training.policy import CollapseMonitor, ThoughtSampler, log_probabilities
from t1_vectorstore.training.rewards import CorpusIndex, RetrievalReward
from t1_vectorstore.training.supervised import contrastive_losses, probe_packs
from t1_vectorstore.training.trainer import ThoughtProbes, check_memory, run_trainer, training_arguments, uses_bfloat16
from t1_vectorstore.types import Trajectory

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # for rollout_func; the version of TRL is pinned
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from trl import GRPOConfig, GRPOTrainer


def train(stage: Grpo, start: StageStart, data: TrainingData, source: Path, out: Path, seed: int) -> None:
    """Train a stage and write the model to ``out/model``; see ``supervised.train``.

    Raises:
        TrainingFailed: The training cannot continue, exact thoughts collapse, or the rewards do not vary.
        CheckpointError, CorpusError, ValueError: The checkpoint or the data cannot be used.
    """
    # 1. The model, and the queries of each step.
    language_model, tokenizer, spec = load_checkpoint(start.base)
    encoder = PromptEncoder(Prompter.load(Checkpoint.load(start.base)))
    processes = process_count()
    sample = ExampleSampler(data.examples, stage.queries, seed)
    examples = [example for step in range(stage.steps * processes) for example in sample(step)[0]]
    per_step = len(examples) // (stage.steps * processes)
    if stage.gradient_checkpointing:
        language_model.gradient_checkpointing_enable({"use_reentrant": False})
    if stage.lora is not None:
        emb_id, bfloat16 = encoder.prompter.emb_id, uses_bfloat16(stage)
        language_model = add_adapters(language_model, stage.lora, emb_id, adapter=start.adapter, bfloat16=bfloat16)
    check_memory(language_model)
    replay = None
    if stage.replay:
        replay = TrainingBatches(
            data.with_thoughts(),
            encoder,
            stage,
            thinks=True,
            seed=seed + 1,
            processes=processes,
            counts=stage.replay_queries,
        )

    # 2. TRL's trainer with our thoughts, our rewards, and stage 1's loss.
    trainer = ThoughtTrainer(
        stage=stage,
        data=data,
        encoder=encoder,
        config=Checkpoint.load(start.model).config,
        examples=examples,
        replay=replay,
        model=language_model,
        processing_class=tokenizer,
        train_dataset=Dataset.from_dict({"prompt": [e.query for e in examples], "row": list(range(len(examples)))}),
        args=training_arguments(
            GRPOConfig,
            stage,
            out,
            seed,
            per_device_train_batch_size=per_step * stage.group,
            num_generations=stage.group,
            steps_per_generation=1,
            max_completion_length=spec.decoding.max_tokens + 1,
            temperature=stage.sampling,
            beta=stage.kl,
            loss_type="grpo",
            shuffle_dataset=False,
            log_completions=False,
        ),
    )
    probes = probe_packs(stage, source, data, encoder)
    trainer.add_callback(ThoughtProbes(trainer.t1, probes, stage.probe_every, trainer))

    # 3. The training, from the last checkpoint if there is one, and the trained model.
    run_trainer(trainer, stage, out)
    if is_main_process():
        trained = trainer.accelerator.unwrap_model(trainer.model)
        if stage.lora is not None:
            save_adapter(trained, spec, out / ADAPTER)
        save_checkpoint(trained, tokenizer, spec, out / "model")


class ThoughtTrainer(GRPOTrainer):  # type: ignore[misc]
    """TRL's GRPO trainer for thoughts."""

    def __init__(
        self,
        *,
        stage: Grpo,
        data: TrainingData,
        encoder: PromptEncoder,
        examples: Sequence[Example],
        replay: TrainingBatches | None,
        config: Mapping[str, Any],
        **options: Any,  # noqa: ANN401 - TRL's
    ) -> None:
        """Create a trainer.

        Args:
            stage: Configuration of the stage.
            data: Corpus.
            encoder: Encoder with the model's prompts.
            examples: Examples of all steps in order; the column ``row`` of the dataset is an index into them.
            replay: Batches for stage 1's loss.
            config: Content of the model's ``config.json``.
            options: Arguments of TRL's trainer.
        """
        super().__init__(reward_funcs=self.retrieval, rollout_func=self._sample_thoughts, **options)
        rows = dict(self._emb_token_rows())
        if REFERENCE in rows:
            rows[REFERENCE].data.copy_(rows["default"])  # TRL copies all but this
        self._freeze_emb_token()
        self.stage, self._examples, self._replay = stage, examples, replay
        self._prompter = encoder.prompter
        self.t1 = T1ForTraining(self.accelerator.unwrap_model(self.model), self._prompter.spec.truncate_dim)
        if self.ref_model is not None:
            T1ForTraining(self.accelerator.unwrap_model(self.ref_model))  # only to switch its attention to packed
        documents = {name: text for name, text in data.documents.items() if name.startswith(stage.within)}
        self._index = CorpusIndex(encoder, list(documents.values()))
        self._index_rows = {name: row for row, name in enumerate(documents)}
        self._sampler = ThoughtSampler(self.t1, config, self._prompter, stage.sampling)
        self._reward = RetrievalReward(self._prompter, self._index, stage.reward)
        self._monitor = CollapseMonitor(stage.collapse, stage.patience)
        self._started = False
        self._thoughts: list[Trajectory] = []

    def _emb_token_rows(self) -> Iterator[tuple[str, Tensor]]:
        """Return the emb token's embedding in the trained adapters and in TRL's reference, by the adapters' name."""
        for name, parameter in self.accelerator.unwrap_model(self.model).named_parameters():
            if EMB_TOKEN_ROW in name:
                yield name.rpartition(".")[2], parameter

    def _freeze_emb_token(self) -> None:
        """Keep the emb token's embedding from training; peft makes it trainable whenever it changes the adapters."""
        for _, row in self._emb_token_rows():
            row.requires_grad_(False)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:  # noqa: ANN401
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        trained = self.accelerator.unwrap_model(self.model)
        if REFERENCE in getattr(trained, "peft_config", {}):
            # A checkpoint has the reference in a subfolder and the trained adapters beside it. transformers 5.19 loads
            # only those in subfolders if there are any.
            trained.load_adapter(resume_from_checkpoint, "default", is_trainable=True)

    def _sample_thoughts(self, prompts: list[str], trainer: GRPOTrainer) -> dict[str, Any]:
        """Sample a thought for each prompt: TRL's ``rollout_func``. Each query comes ``stage.group`` times."""
        prompt_ids = [prompt.ids for prompt in self._prompter.queries(prompts, think=True)]
        group = self.stage.group
        # A thought depends only on its prompt and the seed; a seed per step gives a repeated query other thoughts.
        seed = self.args.seed * self.args.max_steps + self.state.global_step
        self._thoughts = self._sampler(prompt_ids[::group], group, seed)
        completions = [[*t.ids, *([] if t.closing is None else [t.closing])] for t in self._thoughts]
        return {"prompt_ids": prompt_ids, "completion_ids": completions, "logprobs": None}

    def retrieval(
        self,
        completion_ids: list[list[int]],
        row: list[int],
        log_metric: Any,  # noqa: ANN401 - TRL's
        **_: Any,  # noqa: ANN401 - TRL's
    ) -> list[float]:
        """Return the rewards of the sampled thoughts: TRL's reward function."""
        # 1. At the first step, restore the monitor from the log of an interrupted run, and embed the corpus.
        step = self.state.global_step
        if not self._started:
            logged = (entry["exact"] for entry in self.state.log_history if "exact" in entry)
            self._monitor.restore(logged, self.stage.log_every)
        if not self._started or step % self.stage.refresh_every == 0:
            self._index.refresh(self.t1, bfloat16=self.args.bf16)
            self._started = True
        # 2. Reward each thought by where its vector finds the query's own documents.
        example_numbers = row  # TRL passes the dataset's column by its name
        examples = [self._examples[number] for number in example_numbers]
        positives = [[self._index_rows[name] for name in example.positives] for example in examples]
        results = self._reward(self._thoughts, positives)
        for name in ("rank", "margin", "cosine", "closed"):
            log_metric(f"thoughts/{name}", sum(getattr(result, name) for result in results) / len(results))
        # 3. Log the share of thoughts that repeat the training data word for word.
        exact = [
            ids == self._prompter.thought_ids(example.thought)
            for ids, example in zip(completion_ids, examples, strict=True)
            if example.thought is not None
        ]
        share = sum(exact) / len(exact) if exact else None
        if share is not None:
            log_metric("exact", share)
        # 4. Stop a run that has collapsed: thoughts learned by heart, or groups without a difference to learn from.
        rewards = [result.reward for result in results]
        size = self.stage.group
        groups = [rewards[start : start + size] for start in range(0, len(rewards), size)]
        if reason := self._monitor(step, groups, share):
            raise TrainingFailed(reason)
        return rewards

    def _get_per_token_logps_and_entropies(
        self,
        model: torch.nn.Module,
        input_ids: Tensor,
        attention_mask: Tensor,
        logits_to_keep: int,
        *_: Any,  # noqa: ANN401 - TRL's
        **__: Any,  # noqa: ANN401 - TRL's
    ) -> tuple[Tensor, Tensor, None]:
        """Compute the log-probabilities packed; TRL's method would compute the padding too."""
        with self.accelerator.autocast():
            found = log_probabilities(model, input_ids, attention_mask, logits_to_keep, self.stage.sampling)
        return *found, None

    def _compute_loss(self, model: torch.nn.Module, inputs: dict[str, Any]) -> Tensor:
        """Return TRL's loss of the thoughts plus stage 1's loss of the replayed examples."""
        self._freeze_emb_token()
        loss: Tensor = super()._compute_loss(model, inputs)
        if self._replay is not None:
            number = self.state.global_step * self.accelerator.num_processes + self.accelerator.process_index
            replayed = self._supervised_loss(self._replay[number].to(self.args.device))
            self._metrics["train"]["replay"].append(replayed.item())
            loss = loss + self.stage.replay * replayed
        if not torch.isfinite(loss):
            raise TrainingFailed(f"the loss is {loss.item()} at step {self.state.global_step}: lower the learning rate")
        return loss

    def _supervised_loss(self, batch: TrainingBatch) -> Tensor:
        stage, [packed] = self.stage, batch.passes
        with torch.autocast(self.args.device.type, torch.bfloat16, enabled=self.args.bf16):
            vectors, logits = self.t1(packed)
        nce, triplet = contrastive_losses(vectors, batch, stage)
        lm = losses.language_model_loss(logits, packed.labels)
        return stage.lm_weight * lm + stage.info_nce_weight * nce + stage.triplet_weight * triplet

    def create_model_card(self, *_: Any, **__: Any) -> None:  # noqa: ANN401 - TRL's
        """Write no model card into checkpoints."""
