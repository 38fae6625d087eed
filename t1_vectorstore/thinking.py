"""How much a query is thought about, and refined afterwards: plain decisions, no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, cast, get_args

from typing_extensions import TypedDict

from t1_vectorstore.checkpoint import Checkpoint, CheckpointSpec, Decoding
from t1_vectorstore.errors import CheckpointError, TextTooLong
from t1_vectorstore.prompts import check_texts
from t1_vectorstore.specification import MOST_REFINE_STEPS, UNREFINED, Aggregation, Refining


class ThinkingOptions(TypedDict, total=False):
    """How a query is thought about; what is missing or ``None`` is left to whoever is asked next.

    A retriever asks its model, and that the checkpoint.
    """

    think: bool | None
    """On, off, or ``None`` for what the checkpoint was made for."""
    budget: int | None
    """Most tokens of the thought."""
    deadline: float | None
    """Seconds after which the thought is closed as it stands."""
    samples: int | None
    """How many thoughts, each with random numbers of its own. The vector is the mean of theirs, scaled as each is: a
    default of ours, since T1's paper has one thought only; HyDE averages its hypothetical documents so
    (arXiv:2212.10496)."""
    task: str | None
    """One of the checkpoint's task instructions."""
    refine_steps: int | None
    """Passes in hidden space after the thought, or the query where there is none, each of which costs what a token of a
    thought does; see ``specification.Refining``. 0 is the plain vector. They come after a deadline, too."""
    refine: Aggregation | None
    """How the states of the passes become the vector: ``mean`` or ``last``."""


def settled(*layers: Mapping[str, Any]) -> ThinkingOptions:
    """The thinking options of one call: of each option the first that is given, from the nearest layer to the furthest.

    A layer that turns thinking off also drops the limits for thoughts of the layers behind it; one that turns refining
    off, how they refine.
    """
    chosen: dict[str, Any] = dict.fromkeys(ThinkingOptions.__annotations__)
    for layer in layers:
        dropped = {"budget", "deadline", "samples"} if chosen["think"] is False else set()
        dropped |= {"refine"} if chosen["refine_steps"] == 0 else set()
        chosen |= {name: layer.get(name) for name in chosen if chosen[name] is None and name not in dropped}
    return cast(ThinkingOptions, chosen)


@dataclass(frozen=True, slots=True)
class Thinking:
    """What was decided for a call.

    Attributes:
        enabled: whether thoughts are generated.
        decoding: with the budget in force.
        deadline: seconds from the start of the call after which thoughts are closed as they stand.
        refining: what follows the thought, or the query where there is none.
        samples: how many thoughts for each query.
    """

    enabled: bool
    decoding: Decoding
    deadline: float | None = None
    refining: Refining = UNREFINED
    samples: int = 1


def plan(
    spec: CheckpointSpec,
    *,
    think: bool | None = None,
    budget: int | None = None,
    deadline: float | None = None,
    refine_steps: int | None = None,
    refine: Aggregation | None = None,
    samples: int | None = None,
    max_positions: int | None = None,
) -> Thinking:
    """Settle what the caller left open by the checkpoint's defaults.

    Args:
        spec: the checkpoint's specification.
        think: on, off, or ``None`` for what the checkpoint was made for.
        budget: most tokens of a thought; ``None`` takes the checkpoint's.
        deadline: seconds for the whole call.
        refine_steps: passes in hidden space; ``None`` takes the checkpoint's.
        refine: how their states are aggregated; likewise.
        samples: how many thoughts for each query; ``None`` is one.
        max_positions: the longest sequence the model was made for, in tokens.

    Raises:
        TypeError: an option of another type.
        ValueError: options that contradict each other or the checkpoint, or more tokens than the model has room for.
    """
    _check_types(think, budget, deadline, samples)
    enabled = spec.thinks if think is None else think
    if enabled and not spec.thinks:
        raise ValueError("think=True, but this checkpoint does not generate thoughts; leave it off")
    if not enabled and not budget is deadline is samples is None:
        raise ValueError(f"{budget=}, {deadline=} and {samples=} are for thoughts, and thinking is off")
    if budget is not None and budget < 0:
        raise ValueError(f"budget must be 0 tokens or more, got {budget!r}")
    if deadline is not None and not deadline > 0:
        raise ValueError(f"deadline must be more than 0 seconds, got {deadline!r}")
    if samples is not None and samples < 1:
        raise ValueError(f"samples must be 1 or more, got {samples!r}; think=False is for none")
    if samples is not None and samples > 1 and spec.decoding.temperature == 0:
        raise ValueError(
            f"samples={samples!r}, but decoding is greedy (temperature=0), so all thoughts would be the same: load the "
            "model with overrides={'decoding': {'temperature': 0.7}}, or ask for one"
        )
    decoding = spec.decoding if budget is None else spec.decoding.model_copy(update={"max_tokens": int(budget)})
    refining = choose_refining(refine_steps, refine, default=spec.refining)
    _check_positions(spec, decoding.max_tokens if enabled else None, refining.steps, max_positions)
    return Thinking(enabled, decoding, deadline, refining, 1 if samples is None else int(samples))


def prompt_seed(decoding: Decoding, prompt: Sequence[int]) -> int:
    """The seed of the first thought about a prompt, which depends on nothing else; each further one's is one higher."""
    return hash((decoding.seed, tuple(prompt))) % 2**62


def _check_types(think: object, budget: object, deadline: object, samples: object) -> None:
    if think is not None and not isinstance(think, bool):
        raise TypeError(f"think is True, False or None, got {think!r}")
    for name, value, kind, what in (
        ("budget", budget, Integral, "a whole number of tokens"),
        ("deadline", deadline, Real, "a number of seconds"),
        ("samples", samples, Integral, "a whole number"),
    ):
        if value is not None and (isinstance(value, bool) or not isinstance(value, kind)):
            raise TypeError(f"{name} is {what}, got {value!r}")


def choose_refining(
    steps: int | None, aggregate: Aggregation | None = None, *, default: Refining = UNREFINED
) -> Refining:
    """What is refined, by the caller's word or else the checkpoint's, which is the default.

    Raises:
        TypeError: steps that are no whole number.
        ValueError: too many, or fewer than none; no such way to aggregate, or nothing to aggregate.
    """
    if steps is not None and (isinstance(steps, bool) or not isinstance(steps, Integral)):
        raise TypeError(f"refine_steps is a whole number of passes, got {steps!r}")
    steps = default.steps if steps is None else int(steps)
    if not 0 <= steps <= MOST_REFINE_STEPS:
        raise ValueError(f"refine_steps must be from 0 (no refining) to {MOST_REFINE_STEPS}, got {steps}")
    if aggregate is None:
        aggregate = default.aggregate
    elif aggregate not in get_args(Aggregation):
        raise ValueError(f"refine is one of {', '.join(get_args(Aggregation))}, got {aggregate!r}")
    elif not steps:
        raise ValueError(f"refine={aggregate!r} says what becomes of refined states, and refine_steps is 0; raise it")
    return Refining(steps=steps, aggregate=aggregate)


def refuse_refining(refining: Refining) -> None:
    """What a backend says to a refinement that gets tokens only.

    Raises:
        ValueError: there are steps.
    """
    if refining.steps:
        raise ValueError(
            f"refine_steps={refining.steps} feeds hidden states back to the model, and vLLM takes only tokens: leave "
            "refining off, or use backend='transformers'"
        )


def _check_positions(spec: CheckpointSpec, budget: int | None, steps: int, positions: int | None) -> None:
    """See that what follows the longest query fits the model; ``budget`` is ``None`` where nothing is thought."""
    if positions is None or (budget is None and not steps):
        return
    closing = int(budget is not None)  # the emb token of a prompt without a thought is a part of it
    left = positions - spec.max_query_tokens - closing
    if (budget or 0) + steps > left:
        wanted = [f"a budget of {budget} tokens"] * closing + [f"{steps} refine steps"] * bool(steps)
        raise ValueError(
            f"there is no room for {' and '.join(wanted)}: the model takes {positions} tokens, of which "
            f"max_query_tokens={spec.max_query_tokens} are the query's. At most {max(left, 0)} are left"
        )


def check_given(thoughts: Sequence[str], queries: int, decided: Thinking, budget: int | None) -> list[str]:
    """See that thoughts can be taken in place of those that a model would generate.

    Args:
        thoughts: what is given.
        queries: for how many queries.
        decided: what was decided for the call.
        budget: what the caller asked for.

    Raises:
        TypeError: a single string in place of several, or an item that is no string.
        InvalidText: a thought that is empty or not encodable.
        ValueError: not one thought for each query, or nothing is to be thought, or a limit on what is not generated.
    """
    given = check_texts(thoughts, "thought")
    if len(given) != queries:
        raise ValueError(f"{queries} queries need a thought each, got {len(given)}")
    if not decided.enabled:
        raise ValueError("thoughts are given, and thinking is off; leave one of the two out")
    if budget is not None or decided.deadline is not None:
        raise ValueError(f"{budget=} and deadline={decided.deadline!r} limit what is generated, and thoughts are given")
    if decided.samples > 1:
        raise ValueError(f"samples={decided.samples} are to be generated, and thoughts are given")
    return given


def check_rows(rows: Sequence[Sequence[int]], refining: Refining, positions: int | None) -> None:
    """See that the model has room for queries with given thoughts.

    Raises:
        TextTooLong: it has not.
    """
    for index, row in enumerate(rows):
        if positions is not None and len(row) + refining.steps > positions:
            raise TextTooLong(
                f"query {index} and the thought given for it are {len(row)} tokens, with {refining.steps} refine steps "
                f"to come, and the model takes {positions}; shorten the thought"
            )


def check_room(checkpoint: Checkpoint, room: int | None) -> None:
    """See that a checkpoint's own limits fit what its model takes, since they would fail in the middle of a long load.

    Args:
        checkpoint: the folder and its specification.
        room: the longest sequence, in tokens; ``None`` where that is not known.

    Raises:
        CheckpointError: a limit on texts is higher.
        ValueError: the budget of a thought, or the steps of a refinement, do not fit behind the longest query.
    """
    if room is None:
        return
    spec = checkpoint.spec
    for name in ("max_document_tokens", "max_query_tokens"):
        if getattr(spec, name) > room:
            raise CheckpointError(f"{name}={getattr(spec, name)}, but {checkpoint.name!r} takes only {room} tokens")
    plan(spec, max_positions=room)
