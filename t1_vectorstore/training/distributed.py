"""Several processes that train together, each on a GPU of its own: every one sees the documents of all."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional


def gather(documents: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor, int]:
    """Bring the document vectors of all processes together; gradients flow back to where they came from.

    Args:
        documents: (D, dim) of this process.
        numbers: (D,) of these documents in the corpus.

    Returns:
        (all D, dim) vectors and (all D,) numbers, in the order of the processes, and where this process's begin. Alone,
        what was given and 0.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return documents, numbers, 0
    count = torch.tensor([len(numbers)], device=numbers.device)
    sizes = [int(each) for each in _all(count)]
    room = max(sizes) - len(numbers)  # what is exchanged has one size
    vectors = _WithGradients.apply(functional.pad(documents, (0, 0, 0, room)))  # type: ignore[no-untyped-call]
    known = _all(functional.pad(numbers, (0, room)))
    return (
        torch.cat([part[:size] for part, size in zip(vectors, sizes, strict=True)]),
        torch.cat([part[:size] for part, size in zip(known, sizes, strict=True)]),
        sum(sizes[: dist.get_rank()]),
    )


class _WithGradients(torch.autograd.Function):
    """All processes' tensors; each one's gradient is the sum of what all processes have for it."""

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:  # noqa: ANN401 - torch's
        return torch.stack(_all(part.contiguous()))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ANN401 - torch's
        whole = gradients[0].contiguous()
        dist.all_reduce(whole)
        return whole[dist.get_rank()]


def _all(part: Tensor) -> list[Tensor]:
    parts = [torch.zeros_like(part) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, part)
    return parts
