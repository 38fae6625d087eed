"""How much is measured of each model, so that everything takes about 20 minutes on two idle cores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

DTYPES = ("bfloat16", "float32")
DOCUMENTS = ("t1", "sentence-transformers", "vllm-pooling", "gemm")
THOUGHTS = ("t1", "transformers", "vllm-generate", "bandwidth")


@dataclass(frozen=True)
class Part:
    """What is measured of one model.

    Attributes:
        documents: Number of documents in a round.
        dtypes: Number types in which each contender computes, one after the other.
        batches: Numbers of queries that think at a time. Empty for a model that closes its thoughts itself, as
            contenders would then generate different numbers of tokens.
        shared: Whether to measure also 32 queries with a long instruction in common, in the first dtype.
    """

    documents: int
    dtypes: Sequence[str] = DTYPES
    batches: Sequence[int] = ()
    shared: bool = False


PLAN = {
    "t1-mini": Part(documents=64),
    "46M": Part(documents=48, batches=(32, 8, 1), shared=True),
    "300M": Part(documents=12, dtypes=DTYPES[:1], batches=(32, 8, 1)),
    "4B": Part(documents=2048, dtypes=DTYPES[:1]),
}
"""The plan by model. The last one is for a GPU."""


def describe(models: Sequence[str], sections: Sequence[str], rounds: int, last: Mapping[str, Any]) -> str:
    """Describe the plan, with the time that each section took in the stored results."""
    described = {
        "documents": [
            f"{name}: {PLAN[name].documents} documents in {' and '.join(PLAN[name].dtypes)}, by {', '.join(DOCUMENTS)}"
            for name in models
        ],
        "thoughts": [
            f"{name}: batches of {', '.join(map(str, PLAN[name].batches))} in {' and '.join(PLAN[name].dtypes)}"
            f"{', and 32 with a shared instruction' if PLAN[name].shared else ''}, by {', '.join(THOUGHTS)}"
            for name in models
            if PLAN[name].batches
        ],
    }
    lines = [f"{rounds} rounds after a warm-up; in each the contenders take turns."]
    for section in sections:
        took = last.get("seconds", {}).get(section)
        lines.append(f"{section}: " + (f"{took / 60:.1f} minutes last time" if took else "not timed yet"))
        lines += [f"    {line}" for line in described.get(section, [])]
    return "\n".join(lines)
