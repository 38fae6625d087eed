"""Checks that run before the first step, so that a mistake in the recipe or the data does not end a long run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from t1_vectorstore.embedding.prompts import Prompter
from t1_vectorstore.embedding.thinking import check_limits
from t1_vectorstore.training.batches import ExampleSampler, TextSampler
from t1_vectorstore.training.configs import Grpo, Recipe, Stage, Supervised
from t1_vectorstore.training.examples import Example, TrainingData
from t1_vectorstore.training.mining import documents_of_sources
from t1_vectorstore.training.packing import PromptEncoder
from t1_vectorstore.training.supervised import probe_examples
from t1_vectorstore.training.teachers import check_distillation


def check_data(recipe: Recipe, data: TrainingData, source: Path) -> None:
    """Check that the data has what every stage needs.

    Raises:
        CorpusError: A probed split, or a file of vectors to distil, is missing or malformed.
        ValueError: The folder of a teacher does not exist; a part or a source is missing, or lacks thoughts, or own
            thoughts, that a stage needs; or the index lacks relevant documents.
    """
    for stage in recipe.stages:
        ExampleSampler(data.examples, stage.queries, recipe.seed)
        if recipe.thinks:
            probe_examples(stage, source, data)
        counts = _trained_queries(stage)
        if (
            recipe.thinks
            and stage.own_thought_share
            and not any(e.own_thoughts for e in _used_examples(data.examples, counts))
        ):
            raise ValueError(
                f"own_thought_share={stage.own_thought_share} has no effect, because no query of the stage has "
                "own_thoughts: write them with t1 data think"
            )
        if isinstance(stage, Supervised) and stage.mining:
            documents_of_sources(stage.mining, data)
        if isinstance(stage, Supervised) and stage.distill:
            check_distillation(stage.distill, data)
            TextSampler(list(data.documents), stage.distill.texts, recipe.seed)
        if isinstance(stage, Grpo):
            if stage.replay:
                thoughts = data.with_thoughts().examples
                ExampleSampler(thoughts, stage.replay_queries, recipe.seed, what="examples with a thought")
            wanted = (name for e in _used_examples(data.examples, stage.queries) for name in e.positives)
            if outside := next((name for name in wanted if not name.startswith(stage.within)), None):
                raise ValueError(f"within={stage.within!r} excludes {outside!r}, a positive of a query of the stage")


def check_model(recipe: Recipe, data: TrainingData, start: Path) -> None:
    """Check that the thoughts and the reward suit the initial checkpoint.

    Raises:
        TrainingFailed: A thought exceeds the thought budget.
        ValueError: The length penalty would never apply, or the model has too few positions for its thoughts.
        CheckpointError: It has too few for the texts that its specification allows.
    """
    checkpoint = Checkpoint.load(start)
    check_limits(checkpoint, checkpoint.max_positions)
    if not recipe.thinks:
        return
    encoder = PromptEncoder(Prompter.load(checkpoint))
    budget = encoder.prompter.spec.decoding.max_tokens
    for stage in recipe.stages:
        if isinstance(stage, Grpo) and stage.reward.length and budget <= stage.reward.free_tokens:
            raise ValueError(
                f"free_tokens={stage.reward.free_tokens} leaves nothing to penalise: it must be below the thought "
                f"budget of {budget} tokens"
            )
    checked: set[str | None] = set()
    for stage in recipe.stages:
        if isinstance(stage, Grpo) and not stage.replay:
            continue
        for example in _used_examples(data.examples, _trained_queries(stage)):
            for thought in {example.thought, *(example.own_thoughts if stage.own_thought_share else ())} - checked:
                # A token is at least one byte, so a thought with few bytes fits without being tokenized.
                if thought is not None and len(thought.encode()) > budget:
                    checked.add(thought)
                    encoder.thought(thought)


def _trained_queries(stage: Stage) -> int | Mapping[str, int]:
    """Return the numbers of queries whose thoughts are in the loss of a stage."""
    return stage.replay_queries if isinstance(stage, Grpo) else stage.queries


def _used_examples(examples: Sequence[Example], counts: int | Mapping[str, int]) -> Iterator[Example]:
    """Return the examples that a stage with these counts may sample."""
    parts = None if isinstance(counts, int) else {part for part, count in counts.items() if count}
    return (example for example in examples if parts is None or example.part in parts)
