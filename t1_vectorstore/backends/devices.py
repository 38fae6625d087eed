"""Find devices and number types by name, and check them against this machine."""

from __future__ import annotations

import time
from functools import cache

import torch

_PRODUCT = 384
"""Rows and columns of the matrices of the measurement."""


def find_device(name: str) -> torch.device:
    """Return a device by its torch name; ``auto`` chooses a GPU if there is one.

    Raises:
        ValueError: This machine does not have it.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:  # its message lists twenty kinds
        raise ValueError(f"device {name!r} is not on this machine: no such kind; try cpu, cuda or mps") from error
    try:
        if device.type == "cuda" and (device.index or 0) < torch.cuda.device_count():
            # No test tensor: a CUDA context takes half a gigabyte of a GPU that another process may be going to use.
            return device
        torch.zeros(1, device=device).item()  # on 'meta' tensors can be made, but they hold no numbers
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"device {name!r} is not on this machine: {error}".splitlines()[0]) from error
    return device


def find_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return a number type by its name in ``Dtype``; ``auto`` is bfloat16 where it is faster than float32."""
    if name != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]
    if bfloat16_is_faster(device):
        return torch.bfloat16
    return torch.float16 if device.type == "cuda" else torch.float32


@cache
def bfloat16_is_faster(device: torch.device) -> bool:
    """Return whether matrix products in bfloat16 take less time than in float32 on a device.

    A GPU is asked. A CPU is measured, once in a process and in about ten milliseconds: torch multiplies bfloat16
    matrices on every CPU, four times faster than float32 with AVX-512 BF16, and nine times slower with AVX2 alone. The
    two are so far apart that other work on the machine does not change the answer. Elsewhere it is False.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and _product_time(torch.bfloat16) < _product_time(torch.float32)


def _product_time(dtype: torch.dtype, rounds: int = 5) -> float:
    """Return the shortest time of a matrix product of a small model's size, in seconds."""
    left, right = torch.ones(_PRODUCT, _PRODUCT, dtype=dtype), torch.ones(_PRODUCT, _PRODUCT, dtype=dtype)
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        torch.mm(left, right)
        times.append(time.perf_counter() - start)
    return min(times)
