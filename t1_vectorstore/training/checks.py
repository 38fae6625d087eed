"""What would stop a run later on, found before its first step: an hour of training is not to end at a typo."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from t1_vectorstore.embedding.prompts import Prompter
from t1_vectorstore.training.configs import Grpo, Recipe
from t1_vectorstore.training.examples import Example, TrainingData, thoughtful


def check_data(recipe: Recipe, data: TrainingData, source: Path) -> None:
    """Find what any stage lacks in the data.

    Raises:
        CorpusError: A split to be probed is missing or malformed.
        ValueError: A part is missing, or has no thoughts where they are needed; documents to be found are left out.
    """
    from t1_vectorstore.training.batches import Draw
    from t1_vectorstore.training.supervised import probe_examples

    for stage in recipe.stages:
        Draw(data.examples, stage.queries, recipe.seed)
        if recipe.thinks:
            probe_examples(stage, source, data)
        if isinstance(stage, Grpo):
            if stage.replay:
                Draw(thoughtful(data).examples, stage.replay_queries, recipe.seed, what="examples with a thought")
            asked = drawn_from(data.examples, stage.queries)
            wanted = (name for example in asked for name in example.positives)
            if outside := next((name for name in wanted if not name.startswith(stage.within)), None):
                raise ValueError(
                    f"within={stage.within!r} leaves out {outside!r}, which a query of the stage should find"
                )


def check_model(recipe: Recipe, data: TrainingData, start: Path) -> None:
    """Find what does not fit the checkpoint that the recipe begins with.

    Raises:
        TrainingFailed: A thought is longer than the model may think.
        ValueError: A reward for short thoughts that none can get.
    """
    from t1_vectorstore.training.batching import Encoder

    if not recipe.thinks:
        return
    encoder = Encoder(Prompter.load(Checkpoint.load(start)))
    budget = encoder.prompter.spec.decoding.max_tokens
    for stage in recipe.stages:
        if isinstance(stage, Grpo) and stage.reward.length and budget <= stage.reward.free_tokens:
            raise ValueError(
                f"free_tokens={stage.reward.free_tokens} leaves nothing of the budget of {budget} tokens for a thought "
                "to penalise"
            )
    seen: set[str] = set()
    for example in _trained(recipe, data.examples):
        thought = example.thought
        # A token stands for one byte at least: most thoughts need not be cut into tokens to see that they fit.
        if thought is None or thought in seen or len(thought.encode()) <= budget:
            continue
        seen.add(thought)
        encoder.thought(thought)


def drawn_from(examples: Sequence[Example], counts: int | Mapping[str, int]) -> Iterator[Example]:
    """The examples that a stage with these counts may draw."""
    parts = None if isinstance(counts, int) else {part for part, count in counts.items() if count}
    return (example for example in examples if parts is None or example.part in parts)


def _trained(recipe: Recipe, examples: Sequence[Example]) -> Iterator[Example]:
    """The examples whose thoughts are trained on by any stage; some of them more than once."""
    for stage in recipe.stages:
        if not isinstance(stage, Grpo):
            yield from drawn_from(examples, stage.queries)
        elif stage.replay:
            yield from drawn_from(examples, stage.replay_queries)
