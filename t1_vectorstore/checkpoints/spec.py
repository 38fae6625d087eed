"""The specification of a checkpoint: everything that differs between T1 checkpoints, as data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from t1_vectorstore.options import MAX_REFINE_STEPS, Aggregation
from t1_vectorstore.types import Role


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Decoding(_Frozen):
    """How thoughts are decoded. The defaults are this project's: no source on T1 states its decoding settings."""

    max_tokens: int = Field(default=512, ge=0)
    """Budget: maximum length of a thought in tokens, without the closing token."""
    temperature: float = Field(default=0.0, ge=0.0)
    """Sampling temperature. 0 is greedy decoding: a query always has the same vector."""
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    """Sample from the most probable tokens with this total probability."""
    top_k: int = Field(default=0, ge=0)
    """Sample from this number of most probable tokens; 0 keeps all."""
    seed: int = 0
    """Random seed. It is combined with the prompt, so that a thought does not depend on the rest of its batch."""


class Refining(_Frozen):
    """Refine Thought (RT): a query passes through the model again after its emb token, in hidden space, without text.

    An interpretation of arXiv:2511.13726: each step is one decode step, whose input is the hidden state of the step
    before in place of a token's embedding, at the next position. The paper leaves open what exactly is fed back and how
    the states are aggregated, so both are defaults of this project. Fed back is the last layer's state after the final
    norm, as in arXiv:2412.06769.
    """

    steps: int = Field(default=0, ge=0, le=MAX_REFINE_STEPS, strict=True)
    """Number of steps; 0 turns refining off."""
    aggregate: Aggregation = "mean"
    """How the ``steps + 1`` states become one, after pooling and before truncation and normalisation."""


NO_REFINING = Refining()


class Message(_Frozen):
    """One message of a prompt that is rendered by the checkpoint's chat template."""

    role: Literal["system", "user", "assistant"]
    content: str


PromptTemplate = str | tuple[Message, ...]
"""A string with ``{text}`` and, optionally, ``{instruction}``; or chat messages with the same placeholders."""

PROMPTS = ("query_prompt", "query_prompt_no_think", "document_prompt")
"""The fields of a specification that are prompt templates."""


class CheckpointSpec(_Frozen):
    """Everything that differs between T1 checkpoints.

    Special tokens in a prompt template are tokens; in a user's text they are ordinary characters. No template contains
    the emb token: it is appended to the prompts of documents, and of queries without a thought.
    """

    emb_token: str = "<emb_token>"
    """Token whose hidden state is the vector."""
    thinks: bool = True
    """Whether the checkpoint generates thoughts."""
    think_by_default: bool = True
    """Whether a query without the option ``think`` has a thought."""
    emb_source: Literal["generated", "appended"] = "generated"
    """Whether the model ends its thought with the emb token, or with another token, after which it is appended."""
    thought_end: tuple[str, ...] = ()
    """Other tokens that end a thought, such as the end of a chat turn. The emb token replaces them."""
    begin_tokens: tuple[str, ...] | None = None
    """Special tokens before every prompt that is a string, such as ``<bos>``. Default: those that the tokenizer itself
    puts before a text. A chat template is taken as it renders, since it has them."""
    query_prompt: PromptTemplate = "{text}"
    """Prompt of a query, up to the start of the thought."""
    query_prompt_no_think: PromptTemplate | None = None
    """Prompt of a query without a thought. Default: ``query_prompt``."""
    document_prompt: PromptTemplate = "{text}"
    """Prompt of a document."""
    query_instruction: str = ""
    """Replaces ``{instruction}`` in prompts of queries."""
    document_instruction: str = ""
    """Replaces ``{instruction}`` in prompts of documents."""
    tasks: Mapping[str, str] = Field(default_factory=dict)
    """Query instructions by task name."""
    pooling_layer: int = -1
    """Index of the hidden states that are pooled; -1 is the last layer, after the final norm."""
    normalize: bool = True
    """Whether vectors are scaled to length 1."""
    truncate_dim: int | None = Field(default=None, ge=1)
    """Number of leading dimensions to keep, before vectors are normalised. Default: all."""
    matryoshka_dims: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Smaller numbers of leading dimensions that the checkpoint was trained to be truncated to."""
    max_query_tokens: int = Field(default=512, ge=8)
    """Maximum length of a query's whole prompt in tokens, without the thought."""
    max_document_tokens: int = Field(default=512, ge=8)
    """Maximum length of a document's whole prompt in tokens, with the emb token."""
    decoding: Decoding = Decoding()
    """How thoughts are decoded."""
    refining: Refining = NO_REFINING
    """How queries are refined, with or without a thought. Documents are never refined."""
    unverified: tuple[str, ...] = ()
    """Fields whose values are defaults of this project, because no source on the checkpoint states them."""

    @field_validator(*PROMPTS)
    @classmethod
    def _check_placeholder(cls, template: PromptTemplate | None) -> PromptTemplate | None:
        if template is not None:
            whole = template if isinstance(template, str) else "".join(message.content for message in template)
            if whole.count("{text}") != 1:
                raise ValueError(f"a prompt template must contain {{text}} exactly once, got {template!r}")
        return template

    @model_validator(mode="after")
    def _check_coherence(self) -> CheckpointSpec:
        if unknown := sorted(set(self.unverified) - set(type(self).model_fields)):
            raise ValueError(f"unverified names fields that a specification does not have: {unknown}")
        for prompt in PROMPTS:
            if self.emb_token in str(getattr(self, prompt)):
                raise ValueError(f"{prompt} contains {self.emb_token!r}, which is appended to prompts; leave it out")
        if self.thinks and self.emb_source == "appended" and not self.thought_end:
            raise ValueError("emb_source='appended' needs thought_end: the tokens with which the model ends a thought")
        return self

    def with_overrides(self, overrides: Mapping[str, Any]) -> CheckpointSpec:
        """Return a copy with some fields changed; ``decoding`` and ``refining`` may be given in part.

        Fields that are overridden are removed from ``unverified``.

        Raises:
            ValueError: An unknown field, or a value that the field does not accept.
        """
        unverified = tuple(name for name in self.unverified if name not in overrides)
        values = self.model_dump() | {"unverified": unverified} | dict(overrides)
        for part in ("decoding", "refining"):
            if isinstance(overrides.get(part), Mapping):
                values[part] = getattr(self, part).model_dump() | dict(overrides[part])
        try:
            return type(self).model_validate(values)
        except ValidationError as error:
            raise ValueError(
                f"cannot override the checkpoint's specification: {one_line(error, SPEC_FIELDS)}"
            ) from error

    def identity_fields(self, role: Role) -> dict[str, Any]:
        """Return the fields that affect the vectors of a role; for queries, all that change their vectors."""
        values: dict[str, Any] = self.model_dump(mode="json", exclude={"unverified", "matryoshka_dims"})
        if not self.begin_tokens:  # fingerprints of models without such tokens stay what they were
            del values["begin_tokens"]
        if self.think_by_default:  # the same for those that have this default
            del values["think_by_default"]
        if role == "query":
            return values
        document_side = ("emb_token", "document_prompt", "document_instruction", "pooling_layer", "normalize")
        names = (*document_side, "truncate_dim", "max_document_tokens", "begin_tokens")
        return {name: values[name] for name in names if name in values}


SPEC_FIELDS = (*CheckpointSpec.model_fields, *Decoding.model_fields, *Refining.model_fields)
"""Names of all fields of a specification."""

_NUMBERS = {"int_": "a whole number", "float_": "a number"}
"""What pydantic's kinds of errors that begin like this expect."""


def _suggestion(place: tuple[int | str, ...], known: Iterable[str]) -> str:
    """Return the end of a message about an unknown field: the most similar one, and where it is."""
    close = get_close_matches(str(place[-1]).rpartition(".")[2], known, 1)
    for part, model in (("decoding", Decoding), ("refining", Refining)):
        if len(place) == 1 and close and close[0] in model.model_fields and close[0] not in CheckpointSpec.model_fields:
            return f'; {close[0]!r} is a part of {part!r}: write {part}={{"{close[0]}": ...}}'
    return f"; did you mean {close[0]!r}?" if close else ""


def one_line(error: ValidationError, known: Iterable[str] = ()) -> str:
    """Return pydantic's messages in one line; for an unknown field, with the most similar of the ``known`` ones."""
    messages = []
    for item in error.errors():
        name = ".".join(map(str, item["loc"])) or "specification"
        if item["type"] == "extra_forbidden":
            messages.append(f"there is no field {name!r}{_suggestion(item['loc'], known)}")
            continue
        number = next((text for kind, text in _NUMBERS.items() if item["type"].startswith(kind)), None)
        message = f"{name} must be {number}" if number else f"{name}: {item['msg']}"
        # The input of a missing field is the whole object, which may contain an API key.
        messages.append(message if item["type"] == "missing" else f"{message} (got {item['input']!r:.100})")
    return "; ".join(messages)
