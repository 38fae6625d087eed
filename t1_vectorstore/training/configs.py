"""Recipes: everything a run depends on, in one YAML file that is read from top to bottom.

A recipe names the model to begin with and the stages it goes through. Every field not given has the default that stands
here; a field that is unknown is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from t1_vectorstore.checkpoints.spec import Decoding
from t1_vectorstore.errors import MissingExtraError

RECIPES = Path(__file__).parent / "recipes"


class Frozen(BaseModel):
    """What all parts of a recipe have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class NewModel(Frozen):
    """A Qwen3 model with random weights, and a vocabulary made from the data."""

    hidden: int = Field(default=256, ge=8)
    layers: int = Field(default=4, ge=1)
    heads: int = Field(default=4, ge=1)
    key_value_heads: int = Field(default=2, ge=1)
    intermediate: int = Field(default=640, ge=8)
    max_length: int = Field(default=1024, ge=32)
    """Positions: of a query with its thought, or of a document."""
    vocabulary: int = Field(default=4096, ge=300)
    """Tokens of a byte-level BPE; or the most that are kept of ``wordpieces``."""
    wordpieces: Path | None = None
    """Folder of a BERT-like model (``all-MiniLM-L6-v2``): its word pieces that occur in the data are the vocabulary,
    and its embeddings of them the first weights; by principal components, if ``hidden`` is fewer than they have."""
    begin_as_mean: bool = False
    """Begin with vectors that are about the mean of the word embeddings, as a bag of words is; a default of ours that
    keeps what ``wordpieces`` knows. Only the last layer adds something at first. It needs as many key-value heads as
    heads."""
    thought_tokens: int = Field(default=128, ge=1)
    """Budget of a thought."""


class OldModel(Frozen):
    """A checkpoint to train on: a folder, a hub id, or ``t1-mini``."""

    path: str
    decoding: Decoding | None = None
    """In place of the checkpoint's own, whose budget limits the thoughts."""


class Lora(Frozen):
    """Adapters in place of all weights (peft's LoRA); they are merged into the model at the stage's end."""

    rank: int = Field(default=16, ge=1)
    alpha: float = 32.0
    targets: tuple[str, ...] | Literal["all-linear"] = "all-linear"


class Mining(Frozen):
    """Hard negatives: what the model at the stage's beginning ranks high and is not right."""

    depth: int = Field(default=30, ge=1)
    """Hits that are looked at."""
    skip: int = Field(default=0, ge=0)
    """Of the first hits, since unjudged ones may be right."""
    keep: int = Field(default=8, ge=1)
    below: float = Field(default=0.95, gt=0.0)
    """Only hits with less than this share of the positive's cosine, for the same reason (NV-Retriever, 2407.15831)."""
    think: bool = False
    """Whether the model thinks about the queries it is asked."""


class Stage(Frozen):
    """What all stages have in common. Counts are per step and process."""

    steps: int = Field(ge=1)
    queries: int | dict[str, int] = 96
    """How many are drawn; or how many of each part of the data."""
    learning_rate: float = Field(gt=0.0)
    warmup_steps: int = Field(default=30, ge=0)
    weight_decay: float = Field(default=0.01, ge=0.0)
    clip: float = Field(default=1.0, gt=0.0)
    optimizer: Literal["adamw", "muon"] = "adamw"
    """``muon``: Muon for the layers' matrices and AdamW for the rest, with which small models trained from scratch need
    a fraction of the steps."""
    embedding_rate: float | None = Field(default=None, gt=0.0)
    """Learning rate of the word embeddings, if not ``learning_rate``: less keeps what they know of another model."""
    precision: Literal["bf16", "fp32"] = "bf16"
    """Of the arithmetic; weights are float32."""
    gradient_checkpointing: bool = False
    lora: Lora | None = None
    threads: int = Field(default=1, ge=1)
    """Of a CPU."""
    probes: tuple[str, ...] = ()
    """Splits of which exact thoughts are counted."""
    probe_queries: int = Field(default=64, ge=1)
    probe_every: int = Field(default=200, ge=1)
    log_every: int = Field(default=20, ge=1)
    save_every: int = Field(default=200, ge=1)

    think_share: float = Field(default=0.8, ge=0.0, le=1.0)
    """Of the queries that have a thought; the others learn to do without."""
    skip: int = Field(default=0, ge=0)
    """The most positions left out at each of up to three places of a query and its thought, so that the model meets
    distances longer than any of the data's and can go on to longer thoughts (after PoSE, 2309.10400)."""
    word_dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the words of its queries that a stage leaves out, drawn anew each time: so that what is asked is
    understood by more than one word, and in wordings that were never trained. The default is ours, as the method."""
    negatives_share: float = Field(default=0.4, ge=0.0, le=1.0)
    """Of the queries that add negatives of their own to those in the batch."""
    negatives: int = Field(default=1, ge=0)
    """How many each of these adds."""
    temperature: float = Field(default=0.05, gt=0.0)
    margin: float = 0.2
    lm_weight: float = Field(default=1.0, ge=0.0)
    info_nce_weight: float = Field(default=1.0, ge=0.0)
    triplet_weight: float = Field(default=2.0, ge=0.0)

    @model_validator(mode="after")
    def _draws_something(self) -> Stage:
        counts = self.queries.values() if isinstance(self.queries, dict) else [self.queries]
        if not counts or min(counts) < 0 or sum(counts) < 1:
            raise ValueError(f"queries must be a number above 0, or one for each part; got {self.queries!r}")
        return self


class Supervised(Stage):
    """What stages 1 and 2 have in common: a teacher, which both may do without; the default of ours is none."""

    teacher: str | None = Field(default=None, min_length=1)
    """A sentence-transformers model whose cosines the vectors are drawn to."""
    teacher_weight: float = Field(default=1.0, ge=0.0)
    teacher_parts: tuple[str, ...] = ()
    """Parts of the data whose queries heed the teacher, all by default: it may know nothing of some."""

    @model_validator(mode="after")
    def _teaches_what_is_drawn(self) -> Supervised:
        drawn = self.queries if isinstance(self.queries, dict) else {}
        if unknown := sorted(set(self.teacher_parts) - drawn.keys()):
            raise ValueError(f"teacher_parts names {unknown[0]!r}, which is none of the parts of queries")
        return self


class Sft(Supervised):
    """Stage 1: thoughts and vectors, L = 1 LM + 1 InfoNCE + 2 triplet margin (the released checkpoint's weights)."""

    stage: Literal["sft"]


class Contrastive(Supervised):
    """Stage 2: vectors, with large batches and mined negatives. All values are defaults of ours."""

    stage: Literal["contrastive"]
    at_once: int | None = Field(default=None, ge=2)
    """Sequences of a forward pass; with fewer than the batch has, gradients are cached (GradCache, 2101.06983)."""
    mining: Mining | None = Mining()
    lm_weight: float = Field(default=0.1, ge=0.0)
    negatives_share: float = Field(default=1.0, ge=0.0, le=1.0)


class Reward(Frozen):
    """Weights of the terms of a thought's reward; all of them are defaults of ours, see ``rewards.py``."""

    rank: float = 1.0
    """Of nDCG@10 of the right documents over the whole corpus."""
    margin: float = 0.25
    margin_width: float = Field(default=0.1, gt=0.0)
    unclosed: float = -0.25
    """For a thought that did not end with the emb token."""
    length: float = 0.0
    """For a thought that takes its whole budget; less, in proportion, for one above ``free_tokens``."""
    free_tokens: int = Field(default=64, ge=0)
    cosine: float = 0.0
    """Of the best right document's cosine."""


class Grpo(Stage):
    """Stage 3: groups of sampled thoughts, rewarded for what their vectors find. All values are defaults of ours."""

    stage: Literal["grpo"]
    queries: int | dict[str, int] = 12
    """How many are drawn, each with a group of thoughts."""
    group: int = Field(default=8, ge=2)
    learning_rate: float = Field(default=5e-5, gt=0.0)
    warmup_steps: int = Field(default=10, ge=0)
    weight_decay: float = 0.0
    kl: float = Field(default=0.05, ge=0.0)
    """Weight of the divergence from the model at the stage's beginning."""
    sampling: float = Field(default=1.0, gt=0.0)
    """Temperature of the thoughts."""
    reward: Reward = Reward()
    replay: float = Field(default=0.5, ge=0.0)
    """Weight of stage 1's loss on examples with thoughts, which keeps the policy from drifting."""
    replay_queries: int | dict[str, int] = 48
    refresh_every: int = Field(default=50, ge=1)
    """Steps after which the index is made anew."""
    within: str = ""
    """What the ids of the documents in the index begin with: of joined data one source, such as ``factbook/``."""
    collapse: float = Field(default=0.15, gt=0.0)
    """The run stops if exact thoughts fall this far below their best."""
    patience: int = Field(default=50, ge=1)
    """The run stops after so many steps in which no group's rewards varied."""

    @model_validator(mode="after")
    def _saves_where_the_index_is_new(self) -> Grpo:
        if self.save_every % self.refresh_every:
            raise ValueError(
                f"save_every={self.save_every} must be a multiple of refresh_every={self.refresh_every}: a run that is "
                "continued makes its index anew"
            )
        return self


AnyStage = Annotated[Sft | Contrastive | Grpo, Field(discriminator="stage")]


def _kind(model: object) -> str:
    """Which of the two is meant, so that an error speaks of that one alone."""
    return "old" if isinstance(model, OldModel) or (isinstance(model, Mapping) and "path" in model) else "new"


class Recipe(Frozen):
    """One run.

    Attributes:
        model: To begin with.
        thinks: False makes the static twin: the same, without thoughts.
        seed: Of everything that is random.
        stages: In order, each from the model of the one before.
    """

    model: Annotated[Annotated[NewModel, Tag("new")] | Annotated[OldModel, Tag("old")], Discriminator(_kind)]
    thinks: bool = True
    seed: int = Field(default=0, ge=0, lt=2**32)
    stages: tuple[AnyStage, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _is_coherent(self) -> Recipe:
        if not self.thinks and any(isinstance(stage, Grpo) for stage in self.stages):
            raise ValueError("a model that does not think has no thoughts for the stage 'grpo': leave it out")
        return self


def read_recipe(path: str | Path, *, seed: int | None = None) -> Recipe:
    """Read a recipe from a file, or one of the package's own by its name.

    Args:
        path: Of the file, or the name.
        seed: In place of the recipe's.

    Raises:
        FileNotFoundError: No such file and no such recipe.
        ValueError: It is not YAML, or a field is unknown, missing or out of its range; each is named.
        MissingExtraError: The ``train`` extra is not installed.
    """
    try:
        import yaml
    except ModuleNotFoundError as error:
        raise MissingExtraError("train", "reading a recipe") from error
    own = RECIPES / f"{path}.yaml"
    file = own if own.is_file() and not Path(path).is_file() else Path(path)
    if not file.is_file():
        names = ", ".join(sorted(recipe.stem for recipe in RECIPES.glob("*.yaml")))
        raise FileNotFoundError(f"no recipe {str(path)!r}: it is no file and none of the package's own: {names}")
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{file} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, Mapping):
        raise ValueError(f"{file} holds no recipe: expected fields such as model and stages")  # noqa: TRY004 - bad data
    try:
        return Recipe.model_validate({**values, **({} if seed is None else {"seed": seed})})
    except ValidationError as error:
        raise ValueError(f"{file}: {_told(error)}") from None


def _told(error: ValidationError) -> str:
    def place(location: tuple[Any, ...]) -> str:
        return ".".join(str(part) for part in location) or "recipe"

    items = error.errors()
    # Of a tuple with a bad item pydantic also says that it is too short.
    told = [item for item in items if item["type"] != "too_short"] or items
    return "; ".join(f"{place(item['loc'])}: {item['msg']}" for item in told)
