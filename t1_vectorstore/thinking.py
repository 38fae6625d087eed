"""How much a query is thought about: plain decisions, no model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, cast

from typing_extensions import TypedDict

from t1_vectorstore.checkpoint import Checkpoint, CheckpointSpec, Decoding
from t1_vectorstore.errors import CheckpointError


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
    task: str | None
    """One of the checkpoint's task instructions."""


def settled(*layers: Mapping[str, Any]) -> ThinkingOptions:
    """The thinking options of one call: of each option the first that is given, from the nearest layer to the furthest.

    A layer that turns thinking off also drops the limits for thoughts of the layers behind it.
    """
    chosen: dict[str, Any] = dict.fromkeys(ThinkingOptions.__annotations__)
    for layer in layers:
        off = chosen["think"] is False
        for name in chosen:
            if chosen[name] is None and not (off and name in ("budget", "deadline")):
                chosen[name] = layer.get(name)
    return cast(ThinkingOptions, chosen)


@dataclass(frozen=True, slots=True)
class Thinking:
    """What was decided for a call.

    Attributes:
        enabled: whether thoughts are generated.
        decoding: with the budget in force.
        deadline: seconds from the start of the call after which thoughts are closed as they stand.
    """

    enabled: bool
    decoding: Decoding
    deadline: float | None = None


def plan(
    spec: CheckpointSpec,
    *,
    think: bool | None = None,
    budget: int | None = None,
    deadline: float | None = None,
    max_positions: int | None = None,
) -> Thinking:
    """Settle what the caller left open by the checkpoint's defaults.

    Args:
        spec: the checkpoint's specification.
        think: on, off, or ``None`` for what the checkpoint was made for.
        budget: most tokens of a thought; ``None`` takes the checkpoint's.
        deadline: seconds for the whole call.
        max_positions: the longest sequence the model was made for, in tokens.

    Raises:
        TypeError: an option of another type.
        ValueError: options that contradict each other or the checkpoint, or a budget the model has no room for.
    """
    if think is not None and not isinstance(think, bool):
        raise TypeError(f"think is True, False or None, got {think!r}")
    if budget is not None and (isinstance(budget, bool) or not isinstance(budget, Integral)):
        raise TypeError(f"budget is a whole number of tokens, got {budget!r}")
    if deadline is not None and (isinstance(deadline, bool) or not isinstance(deadline, Real)):
        raise TypeError(f"deadline is a number of seconds, got {deadline!r}")
    enabled = spec.thinks if think is None else think
    if enabled and not spec.thinks:
        raise ValueError("think=True, but this checkpoint does not generate thoughts; leave it off")
    if not enabled and (budget is not None or deadline is not None):
        raise ValueError(f"budget={budget!r} and deadline={deadline!r} are for thoughts, and thinking is off")
    if budget is not None and budget < 0:
        raise ValueError(f"budget must be 0 tokens or more, got {budget!r}")
    if deadline is not None and not deadline > 0:
        raise ValueError(f"deadline must be more than 0 seconds, got {deadline!r}")
    decoding = spec.decoding if budget is None else spec.decoding.model_copy(update={"max_tokens": int(budget)})
    room = None if max_positions is None else max_positions - spec.max_query_tokens - 1
    if enabled and room is not None and decoding.max_tokens > room:
        raise ValueError(
            f"a budget of {decoding.max_tokens} tokens does not fit: the model takes {max_positions} tokens, of which "
            f"max_query_tokens={spec.max_query_tokens} are the query's. At most {max(room, 0)} are left"
        )
    return Thinking(enabled, decoding, deadline)


def check_room(checkpoint: Checkpoint, room: int | None) -> None:
    """See that a checkpoint's own limits fit what its model takes, since they would fail in the middle of a long load.

    Args:
        checkpoint: the folder and its specification.
        room: the longest sequence, in tokens; ``None`` where that is not known.

    Raises:
        CheckpointError: a limit on texts is higher.
        ValueError: the budget of a thought does not fit behind the longest query.
    """
    if room is None:
        return
    spec = checkpoint.spec
    for name in ("max_document_tokens", "max_query_tokens"):
        if getattr(spec, name) > room:
            raise CheckpointError(f"{name}={getattr(spec, name)}, but {checkpoint.name!r} takes only {room} tokens")
    if spec.thinks:
        plan(spec, max_positions=room)
