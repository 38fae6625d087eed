"""Stage 3 on TRL's GRPOTrainer: groups of sampled thoughts, rewarded for what their vectors find.

TRL keeps the policy gradient, the reference model and its divergence, and the schedule. Ours are what it has no notion
of: the prompts (its own would read special tokens out of a user's text), the reward, which needs the policy's own
vectors, and stage 1's loss beside it.
"""

from __future__ import annotations

import itertools
import logging
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor

from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from t1_vectorstore.embedding.prompts import Prompter
from t1_vectorstore.errors import TrainingFailed
from t1_vectorstore.training import losses, trainer_options
from t1_vectorstore.training import model as models
from t1_vectorstore.training.batches import Draw, Steps
from t1_vectorstore.training.batching import Batch, Encoder
from t1_vectorstore.training.configs import Grpo
from t1_vectorstore.training.examples import Example, TrainingData, thoughtful
from t1_vectorstore.training.model import T1ForTraining
from t1_vectorstore.training.optimizers import make_optimizer
from t1_vectorstore.training.policy import ThoughtSampler, log_probabilities
from t1_vectorstore.training.retrieval_reward import Index, Judge, Watch
from t1_vectorstore.training.supervised import merged, probe_packs
from t1_vectorstore.training.trainer import Probes
from t1_vectorstore.types import Trajectory

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # rollout_func; the version of TRL is pinned
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from trl import GRPOConfig, GRPOTrainer

log = logging.getLogger(__name__)


def train(stage: Grpo, start: Path, data: TrainingData, source: Path, out: Path, seed: int) -> None:
    """Train, and write the model to ``out/model``; as :func:`t1_vectorstore.training.supervised.train`.

    Raises:
        TrainingFailed: The run cannot go on: also where exact thoughts fall away, or rewards do not vary.
        CheckpointError, CorpusError, ValueError: What it is to begin with does not fit.
    """
    # 1. The model, and the queries of each step.
    language_model, tokenizer, spec = models.load(start)
    prompter = Prompter(tokenizer.backend_tokenizer, spec)
    encoder = Encoder(prompter)
    processes = trainer_options.several_processes()
    draw = Draw(data.examples, stage.queries, seed)
    drawn = [example for step in range(stage.steps * processes) for example in draw(step)[0]]
    per_step = len(drawn) // (stage.steps * processes)
    trainer_options.check_memory(language_model)
    if stage.gradient_checkpointing:
        language_model.gradient_checkpointing_enable({"use_reentrant": False})

    # 2. TRL's trainer, with our thoughts, our rewards, and stage 1's loss.
    trainer = ThoughtTrainer(
        stage=stage,
        data=data,
        encoder=encoder,
        config=Checkpoint.load(start).config,
        drawn=drawn,
        replay=Steps(thoughtful(data), encoder, stage, thinks=True, seed=seed + 1, processes=processes,
                     counts=stage.replay_queries) if stage.replay else None,
        model=language_model,
        processing_class=tokenizer,
        peft_config=trainer_options.adapters(stage.lora) if stage.lora else None,
        train_dataset=Dataset.from_dict({"prompt": [e.query for e in drawn], "row": list(range(len(drawn)))}),
        args=GRPOConfig(
            per_device_train_batch_size=per_step * stage.group,
            num_generations=stage.group,
            steps_per_generation=1,
            max_completion_length=spec.decoding.max_tokens + 1,
            temperature=stage.sampling,
            beta=stage.kl,
            loss_type="grpo",
            shuffle_dataset=False,
            log_completions=False,
            **trainer_options.arguments(stage, out, seed),
        ),
    )  # fmt: skip
    probes = probe_packs(stage, source, data, encoder)
    trainer.add_callback(Probes(trainer.t1, probes, stage.probe_every, trainer))

    # 3. Train, from the last checkpoint if there is one, and write the model.
    trainer_options.run(trainer, out)
    if trainer_options.is_first():
        models.save(merged(trainer.accelerator.unwrap_model(trainer.model)), tokenizer, spec, out / "model")


class ThoughtTrainer(GRPOTrainer):  # type: ignore[misc]
    """GRPO on thoughts."""

    def __init__(
        self,
        *,
        stage: Grpo,
        data: TrainingData,
        encoder: Encoder,
        drawn: Sequence[Example],
        replay: Steps | None,
        config: Mapping[str, Any],
        **options: Any,  # noqa: ANN401 - TRL's
    ) -> None:
        """Take what is ours beside what TRL's trainer takes.

        Args:
            stage: The configuration.
            data: The corpus.
            encoder: Of prompts and documents.
            drawn: The examples of all steps, in order; the dataset's column ``row`` counts them.
            replay: Batches for stage 1's loss.
            config: The model's ``config.json``.
            options: Of TRL's trainer.
        """
        super().__init__(reward_funcs=self.retrieval, rollout_func=self._think, **options)
        self.stage, self._drawn, self._replay = stage, drawn, replay
        self._prompter = encoder.prompter
        self.t1 = T1ForTraining(self.accelerator.unwrap_model(self.model), self._prompter.spec.truncate_dim)
        if self.ref_model is not None:
            T1ForTraining(self.accelerator.unwrap_model(self.ref_model))  # takes packed sequences from now on
        searched = {name: text for name, text in data.documents.items() if name.startswith(stage.within)}
        self._index = Index(encoder, list(searched.values()))
        self._rows = {name: row for row, name in enumerate(searched)}
        self._sampler = ThoughtSampler(self.t1, config, self._prompter, stage.sampling)
        self._judge = Judge(self._prompter, self._index, stage.reward)
        self._watch = Watch(stage.collapse, stage.patience)
        self._fresh = False
        self._thoughts: list[Trajectory] = []

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:  # noqa: ANN401 - TRL's
        """The stage's optimizer."""
        made: torch.optim.Optimizer | None = getattr(self, "optimizer", None)
        self.optimizer = make_optimizer(self.model if model is None else model, self.stage) if made is None else made
        return self.optimizer

    def _think(self, prompts: list[str], trainer: GRPOTrainer) -> dict[str, Any]:
        """TRL's ``rollout_func``: a thought for each prompt: the queries, each as often as a group is large."""
        each = [prompt.ids for prompt in self._prompter.queries(prompts, think=True)]
        group = self.stage.group
        # A thought depends on its prompt and the seed alone; so a query that comes again has other thoughts.
        seed = self.args.seed * self.args.max_steps + self.state.global_step
        self._thoughts = self._sampler(each[::group], group, seed)
        completions = [[*t.ids, *([] if t.closing is None else [t.closing])] for t in self._thoughts]
        return {"prompt_ids": each, "completion_ids": completions, "logprobs": None}

    def retrieval(
        self,
        completion_ids: list[list[int]],
        row: list[int],
        log_metric: Any,  # noqa: ANN401 - TRL's
        **_: Any,  # noqa: ANN401 - TRL's
    ) -> list[float]:
        """TRL's reward function."""
        step = self.state.global_step
        if not self._fresh:
            self._watch.recall(
                (each["exact"] for each in self.state.log_history if "exact" in each), self.stage.log_every
            )
        if not self._fresh or step % self.stage.refresh_every == 0:
            self._index.refresh(self.t1)
            self._fresh = True
        examples = [self._drawn[number] for number in row]
        right = [[self._rows[name] for name in example.positives] for example in examples]
        judged = self._judge(self._thoughts, right)
        known = [(ids, e.thought) for ids, e in zip(completion_ids, examples, strict=True) if e.thought is not None]
        exact = [ids == self._prompter.thought_ids(str(thought)) for ids, thought in known]
        for name in ("rank", "margin", "cosine", "closed"):
            log_metric(f"thoughts/{name}", sum(getattr(each, name) for each in judged) / len(judged))
        share = sum(exact) / len(exact) if exact else None
        if share is not None:
            log_metric("exact", share)
        rewards = [each.reward for each in judged]
        size = self.stage.group
        if told := self._watch(step, [rewards[at : at + size] for at in range(0, len(rewards), size)], share):
            raise TrainingFailed(told)
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
        """In place of TRL's, which computes the padding too."""
        with self.accelerator.autocast():
            found = log_probabilities(model, input_ids, attention_mask, logits_to_keep, self.stage.sampling)
        return *found, None

    def _compute_loss(self, model: torch.nn.Module, inputs: dict[str, Any]) -> Tensor:
        """TRL's loss of the thoughts, and stage 1's of the replayed examples."""
        loss: Tensor = super()._compute_loss(model, inputs)
        if self._replay is not None:
            number = self.state.global_step * self.accelerator.num_processes + self.accelerator.process_index
            replayed = self._supervised(self._replay[number].to(self.args.device))
            self._metrics["train"]["replay"].append(replayed.item())
            loss = loss + self.stage.replay * replayed
        if not torch.isfinite(loss):
            raise TrainingFailed(f"the loss is {loss.item()} at step {self.state.global_step}: lower the learning rate")
        return loss

    def _supervised(self, batch: Batch) -> Tensor:
        stage, [packed] = self.stage, batch.passes
        with torch.autocast(self.args.device.type, torch.bfloat16, enabled=self.args.bf16):
            vectors, logits = self.t1(packed)
        queries, documents = vectors[: batch.queries], vectors[batch.queries :]
        ignored = (batch.relevant[:, :, None] == batch.documents).any(1)
        ignored.scatter_(1, batch.positives[:, None], False)
        nce = losses.info_nce(queries, documents, batch.positives, stage.temperature, ignored)
        triplet = losses.triplet_margin(queries, documents, batch.positives, stage.margin, ignored)
        lm = losses.language_model_loss(logits, packed.labels)
        return stage.lm_weight * lm + stage.info_nce_weight * nce + stage.triplet_weight * triplet

    def _get_train_sampler(self, dataset: Any = None) -> torch.utils.data.Sampler[int]:  # noqa: ANN401 - TRL's
        """In order, each query as often as a group is large."""
        return _Repeated(len(self.train_dataset), self.stage.group)

    def create_model_card(self, *_: Any, **__: Any) -> None:  # noqa: ANN401 - TRL's
        """None: what a checkpoint is, its run says."""


class _Repeated(torch.utils.data.Sampler[int]):
    """Every number in order, each several times."""

    def __init__(self, count: int, times: int) -> None:
        self._count, self._times = count, times

    def __len__(self) -> int:
        return self._count * self._times

    def __iter__(self) -> itertools.chain[int]:
        return itertools.chain.from_iterable(itertools.repeat(number, self._times) for number in range(self._count))
