"""How much of each model's work is measured, so that all of it fits into about 20 minutes of two quiet cores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

DTYPES = ("bfloat16", "float32")
DOCUMENTS = ("t1", "sentence-transformers", "vllm-pooling", "gemm")
THOUGHTS = ("t1", "transformers", "vllm-generate", "bandwidth")


@dataclass(frozen=True)
class Part:
    """One model's share.

    Attributes:
        documents: how many are embedded in a round.
        dtypes: that every contender computes in, one after the other.
        batches: how many queries think at a time; none where a model closes its thoughts itself, so that no two
            contenders would do the same work.
        shared: also 32 queries behind a long instruction that all share, in the first dtype.
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
"""By model; the last one is for a GPU."""


def describe(models: Sequence[str], sections: Sequence[str], rounds: int, last: Mapping[str, Any]) -> str:
    """The plan in lines, with what each section took in the last run for record."""
    told = {
        "documents": [
            f"{name}: {PLAN[name].documents} documents in {' and '.join(PLAN[name].dtypes)}, of {', '.join(DOCUMENTS)}"
            for name in models
        ],
        "thoughts": [
            f"{name}: batches of {', '.join(map(str, PLAN[name].batches))} in {' and '.join(PLAN[name].dtypes)}"
            f"{', and 32 behind one instruction' if PLAN[name].shared else ''}, of {', '.join(THOUGHTS)}"
            for name in models
            if PLAN[name].batches
        ],
    }
    lines = [f"{rounds} rounds after one to warm up, in which the contenders take turns."]
    for section in sections:
        took = last.get("seconds", {}).get(section)
        lines.append(f"{section}: " + (f"{took / 60:.1f} minutes the last time" if took else "not timed yet"))
        lines += [f"    {line}" for line in told.get(section, [])]
    return "\n".join(lines)
