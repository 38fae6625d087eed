"""Find devices and number types by name, and check them against this machine."""

from __future__ import annotations

import platform

import torch


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
    """Return a number type by its name in ``Dtype``; ``auto`` depends on the device."""
    if name != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.bfloat16 if device.type == "cpu" and _cpu_computes_in_bfloat16() else torch.float32


def _cpu_computes_in_bfloat16() -> bool:
    if platform.machine() not in ("x86_64", "AMD64"):
        return False
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
