"""Recipes: the complete configuration of a training run, in one YAML file.

A recipe names the initial model and the stages that train it. Fields that the file leaves out have the defaults below;
unknown fields are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from t1_vectorstore.checkpoints.spec import CheckpointSpec, Decoding
from t1_vectorstore.errors import MissingExtraError

RECIPES = Path(__file__).parent / "recipes"


class Config(BaseModel):
    """Base class of all parts of a recipe: frozen, and without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class NewModel(Config):
    """A Qwen3 model with random weights, and a vocabulary made from the training data."""

    hidden: int = Field(default=256, ge=8)
    layers: int = Field(default=4, ge=1)
    heads: int = Field(default=4, ge=1)
    key_value_heads: int = Field(default=2, ge=1)
    intermediate: int = Field(default=640, ge=8)
    max_length: int = Field(default=1024, ge=32)
    """Number of positions: the longest query with its thought, or document."""
    vocabulary: int = Field(default=4096, ge=300)
    """Size of the byte-level BPE vocabulary; with ``wordpieces``, the maximum number of word pieces kept."""
    wordpieces: Path | None = None
    """Folder of a BERT-like model such as ``all-MiniLM-L6-v2``. Its word pieces that occur in the data become the
    vocabulary, and their embeddings the initial weights; projected on their principal components if ``hidden`` is
    smaller than their dimension."""
    begin_as_mean: bool = False
    """Initialise the layers so that a vector is about the mean of its word embeddings, as in a bag of words. Only the
    last layer adds something at first. This keeps what the embeddings of ``wordpieces`` know; the default is ours. It
    needs as many key-value heads as heads."""
    thought_tokens: int = Field(default=128, ge=1)
    """Thought budget in tokens."""


class PretrainedModel(Config):
    """A checkpoint to train further: a folder, a hub id, or ``t1-mini``."""

    path: str
    decoding: Decoding | None = None
    """Decoding settings that replace the checkpoint's; ``max_tokens`` is the thought budget."""
    overrides: dict[str, Any] = Field(default_factory=dict)
    """Fields of ``t1_config.json`` that replace the checkpoint's, such as the prompts; ``decoding`` in part."""

    @model_validator(mode="after")
    def _check_overrides(self) -> PretrainedModel:
        CheckpointSpec().with_overrides(self.overrides)
        if self.decoding is not None and "decoding" in self.overrides:
            raise ValueError("decoding and overrides.decoding are both given: leave one out")
        return self


class Lora(Config):
    """LoRA adapters (peft), trained instead of all weights.

    Each stage writes its model with the adapters merged, and the adapters alone, as ``adapter/``. A stage with adapters
    of the shape of the stage before continues these; otherwise it adds new ones to the merged model.
    """

    rank: int = Field(default=16, ge=1)
    alpha: float = 32.0
    targets: tuple[str, ...] | Literal["all-linear"] = "all-linear"
    emb_token_rate: float | None = Field(default=None, gt=0.0)
    """Learning rate of the emb token's embedding in stages 1 and 2; ten times ``learning_rate`` by default. AdamW moves
    an element by at most its rate in a step, and at the adapters' rate the row hardly leaves its start in a short run.
    In stage 3 the row is not trained: it is part of every document's vector, and stage 1 has taught the model to close
    its thoughts. Method and default are ours."""


class Mining(Config):
    """Hard negatives: documents that the stage's initial model, or a teacher, ranks high although not relevant."""

    ranked_by: Literal["model", "teacher"] = "model"
    """``teacher`` is the one of ``distill``: an untrained model ranks nothing yet. It ranks the positives of the
    stage's queries of the same part, and leaves out near-duplicates (``Distillation.duplicate_cosine``)."""
    sources: tuple[str, ...] = ()
    """Sources, the part of an id before the first slash, of which the teacher ranks all documents, so that negatives
    are harder; it must embed them all. A model always ranks the whole corpus."""

    depth: int = Field(default=30, ge=1)
    """Number of hits to consider."""
    skip: int = Field(default=0, ge=0)
    """Number of first hits to leave out, since unlabelled documents may be relevant."""
    keep: int = Field(default=8, ge=1)
    below: float | None = Field(default=0.95, gt=0.0)
    """Maximum cosine of a negative as a share of the positive's, for the same reason (NV-Retriever, 2407.15831);
    ``null`` is off."""
    think: bool = False
    """Whether the model thinks about the queries. A teacher never does."""


class Distillation(Config):
    """Distillation of a teacher's vectors: the model's own are to be the teacher's, turned into its dimensions.

    The loss of a vector is 1 - cos(vector, R teacher's vector). R has orthonormal columns and so keeps the teacher's
    cosines; it is fitted to the model's vectors again and again, see ``alignment.py``. Unlike ``Supervised.teacher``,
    this needs no pairs: every text teaches as many numbers as the teacher has dimensions. Method and defaults are ours.
    """

    teacher: str | None = Field(default=None, min_length=1)
    """Folder or hub id of a sentence-transformers model. Its vectors are kept in the folder of the run."""
    vectors: Path | None = None
    """Instead of ``teacher``: vectors that were computed before, a NumPy file ``NAME.npy`` (texts, dim) beside
    ``NAME.jsonl``, which has the text of each row as ``{"text": "..."}``. It must have all documents and queries."""
    weight: float = Field(default=1.0, ge=0.0)
    """Weight of the loss of the documents, and of that of the further ``texts``."""
    query_weight: float = Field(default=0.0, ge=0.0)
    """Weight of the loss of the queries, with or without their thoughts. Their target is the mean of the teacher's
    vectors of the query and of its document."""
    texts: int | dict[str, int] = 0
    """Number of further texts per step that only the teacher teaches, in total or for each source of joined data
    (``{factbook: 8, wordnet: 4}``). They are documents of the corpus, whether or not a query has them: plain texts can
    be added to ``corpus.jsonl``."""
    duplicate_cosine: float = Field(default=1.0, gt=0.0, le=1.0)
    """Teacher's cosine from which a document counts as a near-duplicate of a query's positive in the step, and not as
    its negative. 1 is off."""
    decay: float = Field(default=0.97, ge=0.0, lt=1.0)
    """Factor by which earlier steps count less when R is fitted."""
    refit_every: int = Field(default=10, ge=1)
    """Number of steps between two fits of R."""

    @model_validator(mode="after")
    def _check_source(self) -> Distillation:
        if (self.teacher is None) == (self.vectors is None):
            raise ValueError("distill needs either teacher or vectors: a model, or vectors that were computed before")
        if self.vectors is not None and self.vectors.suffix != ".npy":
            raise ValueError(f"vectors must be a file NAME.npy, got {str(self.vectors)!r}")
        if not self.weight and not self.query_weight:
            raise ValueError("weight and query_weight are both 0, which distils nothing: leave distill out")
        counts = self.texts.values() if isinstance(self.texts, dict) else [self.texts]
        if any(count < 0 for count in counts):
            raise ValueError(f"texts must not be negative, got {self.texts}")
        if any(counts) and not self.weight:
            raise ValueError(f"texts={self.texts} has no effect with weight=0")
        return self


class Stage(Config):
    """Fields of all stages. Counts are per step and process."""

    steps: int = Field(ge=1)
    queries: int | dict[str, int] = 96
    """Number of queries, in total or for each part of the data."""
    learning_rate: float = Field(gt=0.0)
    warmup_steps: int = Field(default=30, ge=0)
    weight_decay: float = Field(default=0.01, ge=0.0)
    clip: float = Field(default=1.0, gt=0.0)
    """Maximum gradient norm."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """``muon`` trains the matrices of the layers with Muon and the rest with AdamW. Small models trained from scratch
    need a fraction of the steps with it."""
    embedding_rate: float | None = Field(default=None, gt=0.0)
    """Learning rate of the word embeddings; ``learning_rate`` by default. A lower one keeps what pretrained embeddings
    know."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Number type of the computation; weights are float32. ``auto`` is bf16 where a short measurement finds it faster,
    as on GPUs and on CPUs with AVX-512 BF16 or AMX."""
    gradient_checkpointing: bool = False
    lora: Lora | None = None
    threads: int = Field(default=1, ge=1)
    """Number of CPU threads."""
    probes: tuple[str, ...] = ()
    """Splits on which the share of exact thoughts is measured."""
    probe_queries: int = Field(default=64, ge=1)
    probe_every: int = Field(default=200, ge=1)
    log_every: int = Field(default=20, ge=1)
    save_every: int = Field(default=200, ge=1)

    think_share: float = Field(default=0.8, ge=0.0, le=1.0)
    """Share of the queries with a thought that are trained with it; the others train retrieval without thinking."""
    own_thought_share: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of the queries, among those that train with a thought, that get one of their ``own_thoughts`` instead of
    the right one; those that have none then train without thinking. A model that was trained with right thoughts alone
    trusts every thought; this way it learns what to do with its own. They are not in the language model loss. Method
    and default are ours."""
    also_without_thought: bool = False
    """Train each query that has a thought in this step without it, too, in the same step. That costs little, since the
    documents are shared. Method and default are ours."""
    skip: int = Field(default=0, ge=0)
    """Maximum number of positions skipped at each of up to three places of a query and its thought. The model thus sees
    longer distances than the data has, and can generalise to longer thoughts (after PoSE, 2309.10400)."""
    word_dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the words of each query to leave out, chosen again every time. The model then relies on more than one
    word, and understands wordings that were never trained. Method and default are ours."""
    negatives_share: float = Field(default=0.4, ge=0.0, le=1.0)
    """Share of the queries that add hard negatives to the batch."""
    negatives: int = Field(default=1, ge=0)
    """Number of hard negatives that each of these queries adds."""
    temperature: float = Field(default=0.05, gt=0.0)
    margin: float = 0.2
    lm_weight: float = Field(default=1.0, ge=0.0)
    info_nce_weight: float = Field(default=1.0, ge=0.0)
    triplet_weight: float = Field(default=2.0, ge=0.0)

    @model_validator(mode="after")
    def _check_queries(self) -> Stage:
        if self.also_without_thought and not self.think_share:
            raise ValueError("also_without_thought has no effect with think_share=0: leave it out")
        counts = self.queries.values() if isinstance(self.queries, dict) else [self.queries]
        if not counts or min(counts) < 0 or sum(counts) < 1:
            raise ValueError(f"queries must be a positive number, or one for each part; got {self.queries!r}")
        return self


class Supervised(Stage):
    """Fields of stages 1 and 2. By default there is no teacher; this default is ours."""

    teacher: str | None = Field(default=None, min_length=1)
    """A sentence-transformers model whose cosines are distilled."""
    teacher_weight: float = Field(default=1.0, ge=0.0)
    teacher_parts: tuple[str, ...] = ()
    """Parts of the data whose queries are distilled, all by default: the teacher may not know the domain of some."""
    distill: Distillation | None = None
    """Distillation of a teacher's vectors, rather than its cosines."""
    mining: Mining | None = None
    """Hard negatives, mined before the first step; ``negatives_share`` and ``negatives`` say how many are used."""
    queue: int = Field(default=0, ge=0)
    """Number of documents of earlier steps that are further negatives of every query. They cost no forward pass, and
    make up for a small batch (XBM, 1912.06798)."""

    @model_validator(mode="after")
    def _check_teacher_parts(self) -> Supervised:
        parts = self.queries if isinstance(self.queries, dict) else {}
        if unknown := sorted(set(self.teacher_parts) - parts.keys()):
            raise ValueError(f"teacher_parts contains {unknown[0]!r}, which is not a part in queries")
        return self

    @model_validator(mode="after")
    def _check_mining(self) -> Supervised:
        if self.mining and self.mining.ranked_by == "teacher":
            if self.distill is None:
                raise ValueError("mining.ranked_by=teacher needs distill, which names the teacher")
            if self.mining.think:
                raise ValueError("mining.think has no effect with ranked_by=teacher: leave it out")
        if self.mining and self.mining.sources and self.mining.ranked_by == "model":
            raise ValueError("mining.sources has no effect with ranked_by=model: leave it out")
        if self.mining and not (self.negatives and self.negatives_share):
            raise ValueError("mining has no effect with negatives=0 or negatives_share=0: set mining: null")
        if self.queue and not (self.info_nce_weight or self.triplet_weight):
            raise ValueError(f"queue={self.queue} has no effect with info_nce_weight=0 and triplet_weight=0")
        return self


class Sft(Supervised):
    """Stage 1: thoughts and vectors, L = 1 LM + 1 InfoNCE + 2 triplet margin (the released checkpoint's weights)."""

    stage: Literal["sft"]


class Contrastive(Supervised):
    """Stage 2: vectors, with large batches and mined hard negatives. All defaults are ours."""

    stage: Literal["contrastive"]
    at_once: int | None = Field(default=None, ge=2)
    """Number of sequences per forward pass. If a batch has more, gradients are cached (GradCache, 2101.06983)."""
    mining: Mining | None = Mining()
    lm_weight: float = Field(default=0.1, ge=0.0)
    negatives_share: float = Field(default=1.0, ge=0.0, le=1.0)


class RewardWeights(Config):
    """Weights of the terms of a thought's reward, see ``rewards.py``. All defaults are ours."""

    rank: float = 1.0
    """Weight of the nDCG@10 of the relevant documents over the whole corpus."""
    margin: float = 0.25
    margin_width: float = Field(default=0.1, gt=0.0)
    unclosed: float = -0.25
    """Reward of a thought that did not end with the emb token."""
    length: float = 0.0
    """Penalty of a thought that uses its whole budget; proportionally less above ``free_tokens``."""
    free_tokens: int = Field(default=64, ge=0)
    cosine: float = 0.0
    """Weight of the best relevant document's cosine."""


class Grpo(Stage):
    """Stage 3: groups of sampled thoughts, rewarded for what their vectors retrieve. All defaults are ours."""

    stage: Literal["grpo"]
    queries: int | dict[str, int] = 12
    """Number of queries, in total or for each part; each gets a group of thoughts."""
    group: int = Field(default=8, ge=2)
    """Number of thoughts per query."""
    learning_rate: float = Field(default=5e-5, gt=0.0)
    warmup_steps: int = Field(default=10, ge=0)
    weight_decay: float = 0.0
    kl: float = Field(default=0.05, ge=0.0)
    """Weight of the KL divergence from the stage's initial model."""
    sampling: float = Field(default=1.0, gt=0.0)
    """Sampling temperature of the thoughts."""
    reward: RewardWeights = RewardWeights()
    replay: float = Field(default=0.5, ge=0.0)
    """Weight of stage 1's loss on examples with thoughts, which keeps the policy from drifting."""
    replay_queries: int | dict[str, int] = 48
    refresh_every: int = Field(default=50, ge=1)
    """Number of steps between two rebuilds of the index."""
    within: str | tuple[str, ...] = ""
    """Prefixes of the document ids in the index: sources of joined data, such as ``factbook/``."""
    collapse: float = Field(default=0.15, gt=0.0)
    """Stop the run if the share of exact thoughts falls this far below its maximum."""
    patience: int = Field(default=50, ge=1)
    """Stop the run after this many consecutive steps in which no group's rewards vary."""

    @model_validator(mode="after")
    def _check_save_steps(self) -> Grpo:
        if self.save_every % self.refresh_every:
            raise ValueError(
                f"save_every={self.save_every} must be a multiple of refresh_every={self.refresh_every}: a continued "
                "run rebuilds its index"
            )
        return self


AnyStage = Annotated[Sft | Contrastive | Grpo, Field(discriminator="stage")]


def _model_tag(model: object) -> str:
    """Choose the model class by its fields, so that a validation error mentions only one of the two."""
    pretrained = isinstance(model, PretrainedModel) or (isinstance(model, Mapping) and "path" in model)
    return "pretrained" if pretrained else "new"


class Recipe(Config):
    """A training run.

    Attributes:
        model: Initial model.
        thinks: False trains the static twin: the same model without thoughts.
        seed: Random seed of the run. Each stage derives its own from it, and so draws other examples.
        stages: Stages in order; each continues from the model of the one before.
    """

    model: Annotated[
        Annotated[NewModel, Tag("new")] | Annotated[PretrainedModel, Tag("pretrained")], Discriminator(_model_tag)
    ]
    thinks: bool = True
    seed: int = Field(default=0, ge=0, lt=2**32)
    stages: tuple[AnyStage, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check_stages(self) -> Recipe:
        if not self.thinks and any(isinstance(stage, Grpo) for stage in self.stages):
            raise ValueError("the stage 'grpo' needs thoughts: remove the stage, or thinks: false")
        return self


def read_recipe(path: str | Path, *, seed: int | None = None) -> Recipe:
    """Read a recipe.

    Args:
        path: Path of a YAML file, or the name of a bundled recipe.
        seed: Random seed that replaces the recipe's.

    Raises:
        FileNotFoundError: There is neither such a file nor such a bundled recipe.
        ValueError: The file is not YAML, or fields are unknown, missing or out of range; the message names each.
        MissingExtraError: The ``train`` extra is not installed.
    """
    try:
        import yaml
    except ModuleNotFoundError as error:
        raise MissingExtraError("train", "reading a recipe") from error
    bundled = RECIPES / f"{path}.yaml"
    file = bundled if bundled.is_file() and not Path(path).is_file() else Path(path)
    if not file.is_file():
        names = ", ".join(sorted(recipe.stem for recipe in RECIPES.glob("*.yaml")))
        raise FileNotFoundError(f"no recipe {str(path)!r}: pass the path of a YAML file, or a bundled recipe: {names}")
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{file} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, Mapping):
        raise ValueError(f"{file} is not a recipe: it needs the fields model and stages")  # noqa: TRY004 - bad data
    try:
        return Recipe.model_validate({**values, **({} if seed is None else {"seed": seed})})
    except ValidationError as error:
        raise ValueError(f"{file}: {_one_line(error)}") from None


def _one_line(error: ValidationError) -> str:
    problems = error.errors()
    # If an item of a tuple is invalid, pydantic also reports the tuple as too short.
    problems = [problem for problem in problems if problem["type"] != "too_short"] or problems
    return "; ".join(f"{'.'.join(map(str, problem['loc'])) or 'recipe'}: {problem['msg']}" for problem in problems)
