"""What happens to a text longer than the checkpoint's limit: it is cut, and the policy says how loudly."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from t1_vectorstore.callers import frames_to_the_caller
from t1_vectorstore.errors import TextTooLong
from t1_vectorstore.prompts import Prompt
from t1_vectorstore.specification import CheckpointSpec
from t1_vectorstore.types import Role, Truncated, Truncation


class TruncationWarning(UserWarning):
    """A text was longer than the checkpoint's limit; what did not fit was left out."""


def check_policy(policy: Truncation) -> Truncation:
    """Refuse a policy that there is not.

    Raises:
        ValueError: an unknown truncation policy.
    """
    if policy not in ("raise", "warn", "allow"):
        raise ValueError(f"truncation must be 'raise', 'warn' or 'allow', got {policy!r}")
    return policy


def truncated(prompts: Sequence[Prompt], role: Role, policy: Truncation, spec: CheckpointSpec) -> list[Truncated]:
    """The prompts that were cut, in order, after doing what the policy asks.

    Raises:
        TextTooLong: there are some, and the policy is ``raise``.
    """
    cuts = [Truncated(i, prompt.dropped, prompt.text_tokens) for i, prompt in enumerate(prompts) if prompt.dropped]
    if cuts and policy != "allow":
        limit = spec.max_query_tokens if role == "query" else spec.max_document_tokens
        message = (
            f"{len(cuts)} of {len(prompts)} {role} texts are over the limit of {limit} tokens; "
            f"text {cuts[0].index} loses {cuts[0].dropped_tokens} of {cuts[0].total_tokens}. Split it, or raise "
            f"max_{role}_tokens"
        )
        if policy == "raise":
            raise TextTooLong(message)
        warnings.warn(message, TruncationWarning, stacklevel=frames_to_the_caller())
    return cuts
