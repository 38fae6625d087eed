"""Decides how the queries of a call are thought about and refined, before the model runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from t1_vectorstore.checkpoints.checkpoint import Checkpoint
from t1_vectorstore.checkpoints.spec import NO_REFINING, CheckpointSpec, Decoding, Refining
from t1_vectorstore.embedding.prompts import check_texts
from t1_vectorstore.errors import CheckpointError, TextTooLong
from t1_vectorstore.options import ThinkingOptions


@dataclass(frozen=True, slots=True)
class ThinkingPlan:
    """How the queries of one call are thought about.

    Attributes:
        enabled: Whether thoughts are generated.
        decoding: Decoding settings, with the budget of this call.
        deadline: Seconds from the start of the call after which thoughts are closed.
        refining: Refinement after the thought, or after the query without a thought.
        samples: Number of thoughts for each query.
    """

    enabled: bool
    decoding: Decoding
    deadline: float | None = None
    refining: Refining = NO_REFINING
    samples: int = 1


def merge_options(*levels: ThinkingOptions) -> ThinkingOptions:
    """Merge the thinking options of several levels: the first value that is not ``None`` is taken.

    A level that turns thinking off also discards the limits on thoughts that later levels set, and one that turns it
    on or off discards the threshold of ``think="auto"``. A level that turns refining off discards their way to combine
    refined states. A task replaces a later level's own instruction, and the other way round.

    Args:
        levels: From the nearest to the furthest, such as call, retriever, model.
    """
    merged = dict.fromkeys(ThinkingOptions.model_fields)
    for level in levels:
        dropped = {"budget", "deadline", "samples"} if merged["think"] is False else set()
        dropped |= {"think_threshold"} if isinstance(merged["think"], bool) else set()
        dropped |= {"refine"} if merged["refine_steps"] == 0 else set()
        dropped |= {"instruction"} if merged["task"] is not None else set()
        dropped |= {"task"} if merged["instruction"] is not None else set()
        merged |= {name: getattr(level, name) for name in merged if merged[name] is None and name not in dropped}
    return ThinkingOptions.model_construct(**merged)


def plan_thinking(spec: CheckpointSpec, options: ThinkingOptions, max_positions: int | None) -> ThinkingPlan:
    """Combine the options of a call with the checkpoint's defaults.

    Args:
        spec: The checkpoint's specification.
        options: The options of the call.
        max_positions: Longest sequence that the model accepts, in tokens; ``None`` if unknown.

    Raises:
        ValueError: Options that contradict each other or the checkpoint, or more tokens than the model accepts.
    """
    budget, deadline, samples = options.budget, options.deadline, options.samples
    check_threshold(options)
    if options.think == "auto":
        raise ValueError(
            "think='auto' decides by a ranking without a thought, and embedding a query ranks nothing: search a "
            "T1VectorStore or a store or retriever of its adapters with it, or embed with think=True or False"
        )
    enabled = spec.thinks and spec.think_by_default if options.think is None else options.think
    if enabled and not spec.thinks:
        raise ValueError("think=True, but this checkpoint does not generate thoughts; leave it off")
    limits = {"budget": budget, "deadline": deadline, "samples": samples}
    if given := [f"{name}={value}" for name, value in limits.items() if value is not None and not enabled]:
        are = "is" if len(given) == 1 else "are"
        default = " by this checkpoint's default: give think=True" if options.think is None and spec.thinks else ""
        raise ValueError(f"{' and '.join(given)} {are} for thoughts, and thinking is off{default}")
    if samples is not None and samples > 1 and spec.decoding.temperature == 0:
        raise ValueError(
            f"{samples=}, but decoding is greedy (temperature=0), so all thoughts would be the same: load the model "
            "with overrides={'decoding': {'temperature': 0.7}}, or use one sample"
        )
    decoding = spec.decoding if budget is None else spec.decoding.model_copy(update={"max_tokens": budget})
    refining = plan_refining(options, spec.refining)
    _check_fit(spec, decoding.max_tokens if enabled else None, refining.steps, max_positions)
    return ThinkingPlan(enabled, decoding, deadline, refining, samples or 1)


def check_threshold(options: ThinkingOptions) -> None:
    """Check that a threshold is given only where it counts.

    Raises:
        ValueError: A threshold without ``think="auto"``.
    """
    if options.think_threshold is not None and options.think != "auto":
        raise ValueError(
            f"think_threshold={options.think_threshold!r} is for think='auto', and think={options.think!r}; give "
            "think='auto', or leave the threshold out"
        )


def check_limits(checkpoint: Checkpoint, max_positions: int | None) -> None:
    """Check the limits in a checkpoint's specification, which would otherwise fail in the middle of a long load.

    Args:
        checkpoint: The checkpoint.
        max_positions: Longest sequence that the model accepts, in tokens; ``None`` if unknown.

    Raises:
        CheckpointError: A limit on texts is higher than that.
        ValueError: The thought's budget or the refine steps do not fit after the longest query.
    """
    for name in ("max_document_tokens", "max_query_tokens"):
        limit = getattr(checkpoint.spec, name)
        if max_positions is not None and limit > max_positions:
            raise CheckpointError(f"{name}={limit}, but {checkpoint.name!r} accepts only {max_positions} tokens")
    plan_thinking(checkpoint.spec, ThinkingOptions(), max_positions)


def _check_fit(spec: CheckpointSpec, budget: int | None, refine_steps: int, max_positions: int | None) -> None:
    """Check that a thought and refine steps fit after the longest query; ``budget`` is ``None`` without a thought."""
    if max_positions is None or (budget is None and not refine_steps):
        return
    closing = int(budget is not None)  # without a thought, the emb token is part of the prompt
    left = max_positions - spec.max_query_tokens - closing
    if (budget or 0) + refine_steps > left:
        wanted = []
        if budget is not None:
            wanted.append(f"a budget of {budget} tokens")
        if refine_steps:
            wanted.append(f"{refine_steps} refine steps")
        raise ValueError(
            f"{' and '.join(wanted)} do not fit: the model accepts {max_positions} tokens, and "
            f"max_query_tokens={spec.max_query_tokens} are reserved for the query. At most {max(left, 0)} are left"
        )


def plan_refining(options: ThinkingOptions, default: Refining = NO_REFINING) -> Refining:
    """Combine the refining options of a call with the checkpoint's.

    Raises:
        ValueError: ``refine`` without refine steps.
    """
    steps = default.steps if options.refine_steps is None else options.refine_steps
    if options.refine is not None and not steps:
        raise ValueError(
            f"refine={options.refine!r} combines the states of refine steps, and refine_steps is 0; raise it"
        )
    return Refining(steps=steps, aggregate=options.refine or default.aggregate)


def check_given_thoughts(thoughts: Sequence[str], queries: int, plan: ThinkingPlan, budget: int | None) -> list[str]:
    """Check that thoughts can be used for ``queries`` queries instead of generated ones; ``budget`` is the call's own.

    Raises:
        TypeError: A single string, or an item that is not a string.
        InvalidText: A thought that is white space or not encodable.
        ValueError: Not one thought for each query, thinking is off, or a limit on generated thoughts.
    """
    given = check_texts(thoughts, "thought", may_be_empty=True)  # a model can close its thought at once
    if len(given) != queries:
        raise ValueError(f"{queries} queries need a thought each, got {len(given)}")
    if not plan.enabled:
        raise ValueError("thoughts are given, and thinking is off; leave one of the two out, or give think=True")
    if budget is not None or plan.deadline is not None:
        raise ValueError(f"{budget=} and deadline={plan.deadline!r} limit generated thoughts, and thoughts are given")
    if plan.samples > 1:
        raise ValueError(f"samples={plan.samples} thoughts are to be generated, and thoughts are given")
    return given


def check_given_lengths(
    prompts: Sequence[Sequence[int]], thoughts: Sequence[Sequence[int]], refining: Refining, max_positions: int | None
) -> None:
    """Check that queries with their given thoughts fit the model, in tokens.

    Raises:
        TextTooLong: One of them does not.
    """
    for index, (prompt, thought) in enumerate(zip(prompts, thoughts, strict=True)):
        length = len(prompt) + len(thought)
        if max_positions is not None and length + refining.steps > max_positions:
            raise TextTooLong(
                f"query {index} and its given thought are {length} tokens, followed by {refining.steps} refine steps, "
                f"but the model accepts only {max_positions}; shorten the thought"
            )
