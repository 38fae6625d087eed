"""Everything that differs between T1 checkpoints, as data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from t1_vectorstore.options import MAX_REFINE_STEPS, Aggregation
from t1_vectorstore.types import Role


class Decoding(BaseModel):
    """How thoughts are decoded. Every default is ours: no source of T1 tells its decoding settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_tokens: int = Field(default=512, ge=0)
    """Budget of a thought in tokens, the closing token not counted."""
    temperature: float = Field(default=0.0, ge=0.0)
    """0 is greedy: the same query always has the same vector."""
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    top_k: int = Field(default=0, ge=0)
    """0 keeps all tokens."""
    seed: int = 0
    """Sampling draws from this seed and the row's prompt, so a batch's composition changes nothing."""


class Refining(BaseModel):
    """Refine Thought (RT): after its emb token a query passes through the model again, in hidden space, without text.

    Our reading of arXiv:2511.13726: each step is one decode step, whose input is the hidden state of the step before
    in place of a token's embedding, at the next position. What exactly is fed back and how the states are aggregated
    are defaults of ours: fed back is the last layer's state after the final norm, as in arXiv:2412.06769.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(default=0, ge=0, le=MAX_REFINE_STEPS, strict=True)
    """0 is the plain vector."""
    aggregate: Aggregation = "mean"
    """Of the ``steps + 1`` states, as the checkpoint pools them, before they are cut and scaled to length 1."""


NO_REFINING = Refining()


class Message(BaseModel):
    """One message of a prompt in the checkpoint's own chat template."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Literal["system", "user", "assistant"]
    content: str


PromptTemplate = str | tuple[Message, ...]
"""A string with ``{text}`` (and perhaps ``{instruction}``), or chat messages with the same placeholders."""

PROMPTS = ("query_prompt", "query_prompt_no_think", "document_prompt")
"""The fields of a specification that are prompt templates."""


class CheckpointSpec(BaseModel):
    """Everything that differs between T1 checkpoints.

    The special tokens in a prompt template are tokens; those in a user's text are only text. A document's prompt and
    an unthinking query's prompt are closed with the emb token by the prompt room, so no template contains it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    emb_token: str = "<emb_token>"
    """The token whose hidden state is the vector."""
    thinks: bool = True
    """Whether the checkpoint generates thoughts at all."""
    emb_source: Literal["generated", "appended"] = "generated"
    """Whether the model closes its thought with the emb token, or ends it otherwise and the token is appended."""
    thought_end: tuple[str, ...] = ()
    """Other tokens that end a thought, such as the end of a chat turn; the emb token takes their place."""
    query_prompt: PromptTemplate = "{text}"
    """Up to where the thought begins."""
    query_prompt_no_think: PromptTemplate | None = None
    """The prompt of a query that is not thought about; without it the thinking prompt, closed at once."""
    document_prompt: PromptTemplate = "{text}"
    query_instruction: str = ""
    document_instruction: str = ""
    tasks: Mapping[str, str] = Field(default_factory=dict)
    """Query instructions by task name."""
    pooling_layer: int = -1
    """Which of the model's hidden states is the vector; -1 is the last, after the final norm."""
    normalize: bool = True
    """Whether vectors are scaled to length 1."""
    truncate_dim: int | None = Field(default=None, ge=1)
    """Keep only the first so many dimensions (before normalising)."""
    max_query_tokens: int = Field(default=512, ge=8)
    """Limit of a query's whole prompt in tokens; the thought comes on top."""
    max_document_tokens: int = Field(default=512, ge=8)
    """Limit of a document's whole prompt in tokens, the emb token included."""
    decoding: Decoding = Decoding()
    refining: Refining = NO_REFINING
    """Of queries, after their thought or without one; documents are never refined."""
    unverified: tuple[str, ...] = ()
    """The fields whose values are defaults of ours that no source of this checkpoint states."""

    @field_validator(*PROMPTS)
    @classmethod
    def _has_one_text(cls, template: PromptTemplate | None) -> PromptTemplate | None:
        if template is not None:
            whole = template if isinstance(template, str) else "".join(message.content for message in template)
            if whole.count("{text}") != 1:
                raise ValueError(f"a prompt template holds {{text}} exactly once, this one does not: {template!r}")
        return template

    @model_validator(mode="after")
    def _is_coherent(self) -> CheckpointSpec:
        unknown = sorted(set(self.unverified) - set(type(self).model_fields))
        if unknown:
            raise ValueError(f"unverified names no fields of a specification: {unknown}")
        for prompt in PROMPTS:
            if self.emb_token in str(getattr(self, prompt)):
                raise ValueError(f"{prompt} contains {self.emb_token!r}: it is put at the end of every prompt anyway")
        if self.thinks and self.emb_source == "appended" and not self.thought_end:
            raise ValueError("emb_source='appended' needs thought_end: the tokens with which the model ends a thought")
        return self

    def with_overrides(self, overrides: Mapping[str, Any]) -> CheckpointSpec:
        """A copy with some fields changed; ``decoding`` and ``refining`` may be given in part.

        Raises:
            TypeError: something other than a mapping.
            ValueError: an unknown field, or a value the field does not take.
        """
        if not isinstance(overrides, Mapping):
            raise TypeError(f"overrides is a mapping such as {{'truncate_dim': 256}}, got {overrides!r}")
        told = tuple(
            name for name in self.unverified if name not in overrides
        )  # what a user says is no default of ours
        values = self.model_dump() | {"unverified": told} | dict(overrides)
        for part in ("decoding", "refining"):
            if isinstance(overrides.get(part), Mapping):
                values[part] = getattr(self, part).model_dump() | dict(overrides[part])
        try:
            return type(self).model_validate(values)
        except ValidationError as error:
            raise ValueError(f"cannot override the checkpoint's specification: {one_line(error)}") from error

    def check_lengths(self, max_positions: int | None, *, budget: int | None, refine_steps: int) -> None:
        """Check that a thought and refine steps fit the model after the longest query.

        Args:
            max_positions: Longest sequence that the model accepts, in tokens; ``None`` if unknown.
            budget: Maximum length of the thought in tokens; ``None`` without a thought.
            refine_steps: Number of refine steps.

        Raises:
            ValueError: They do not fit.
        """
        if max_positions is None or (budget is None and not refine_steps):
            return
        closing = int(budget is not None)  # without a thought, the emb token is part of the prompt
        left = max_positions - self.max_query_tokens - closing
        if (budget or 0) + refine_steps > left:
            wanted = [f"a budget of {budget} tokens"] * closing + [f"{refine_steps} refine steps"] * bool(refine_steps)
            raise ValueError(
                f"{' and '.join(wanted)} do not fit: the model accepts {max_positions} tokens, and "
                f"max_query_tokens={self.max_query_tokens} are reserved for the query. At most {max(left, 0)} are left"
            )

    def identity_fields(self, role: Role) -> dict[str, Any]:
        """The fields that decide the vectors of one role; a query's include its document side's frame."""
        values: dict[str, Any] = self.model_dump(mode="json", exclude={"unverified"})
        if role == "query":
            return values
        document_side = ("emb_token", "document_prompt", "document_instruction", "pooling_layer", "normalize")
        return {name: values[name] for name in (*document_side, "truncate_dim", "max_document_tokens")}


def one_line(error: ValidationError) -> str:
    """What is wrong with which field, without pydantic's line breaks."""
    return "; ".join(
        f"{'.'.join(map(str, item['loc'])) or 'specification'}: {item['msg']}"
        # Where a field is missing, pydantic's input is all the others, a key to a server among them.
        + ("" if item["type"] == "missing" else f" (got {item['input']!r:.100})")
        for item in error.errors()
    )
