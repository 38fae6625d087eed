"""Training in several processes, one for each GPU: the documents of all processes are negatives of every query."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional


def process_count() -> int:
    """Return the number of processes that the launcher started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main_process() -> bool:
    """Return whether this process writes the files of the run."""
    return os.environ.get("RANK", "0") == "0"


def wait_for_file(file: Path) -> None:
    """Wait until the main process has written a file."""
    while not file.is_file():
        time.sleep(0.5)


def gather_documents(documents: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor, int]:
    """Gather the document vectors of all processes. Gradients flow back to the process that computed a vector.

    Args:
        documents: Vectors of this process (D, dim).
        numbers: Corpus numbers of these documents (D,).

    Returns:
        Vectors (all D, dim) and corpus numbers (all D,) in the order of the processes, and the index of this process's
        first document. A single process gets its own arguments and 0.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return documents, numbers, 0
    sizes = [int(size) for size in _all_gather(torch.tensor([len(numbers)], device=numbers.device))]
    padding = max(sizes) - len(numbers)  # all_gather needs tensors of equal size
    vectors = _GatherWithGradients.apply(functional.pad(documents, (0, 0, 0, padding)))  # type: ignore[no-untyped-call]
    all_numbers = _all_gather(functional.pad(numbers, (0, padding)))
    return (
        torch.cat([part[:size] for part, size in zip(vectors, sizes, strict=True)]),
        torch.cat([part[:size] for part, size in zip(all_numbers, sizes, strict=True)]),
        sum(sizes[: dist.get_rank()]),
    )


def sum_over_processes(tensor: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes, without gradients."""
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(tensor)
    return tensor


class _GatherWithGradients(torch.autograd.Function):
    """``all_gather`` whose gradient is the sum of the gradients of all processes."""

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:  # noqa: ANN401 - torch's
        return torch.stack(_all_gather(part.contiguous()))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ANN401 - torch's
        total = gradients[0].contiguous()
        dist.all_reduce(total)
        return total[dist.get_rank()]


def _all_gather(part: Tensor) -> list[Tensor]:
    parts = [torch.zeros_like(part) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, part)
    return parts
