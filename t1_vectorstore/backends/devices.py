"""Devices and number types by name, checked against this machine."""

from __future__ import annotations

import platform

import torch


def find_device(name: str) -> torch.device:
    """A device; ``auto`` takes a GPU where there is one.

    Raises:
        TypeError: no name.
        ValueError: it is not on this machine.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if not isinstance(name, str):
        raise TypeError(f"device must be a name such as 'cpu' or 'cuda:0', got {name!r}")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # 'meta' makes tensors, but none that hold numbers
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"device {name!r} is not on this machine: {error}".splitlines()[0]) from error
    return device


def find_dtype(name: str, device: torch.device) -> torch.dtype:
    """A floating point type; ``auto`` takes bfloat16 where the device computes in it.

    Raises:
        ValueError: no type that models are run in.
    """
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name != "auto":
        if name not in known:
            raise ValueError(f"dtype must be 'auto' or one of {sorted(known)}, got {name!r}")
        return known[name]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.bfloat16 if device.type == "cpu" and _cpu_computes_in_bfloat16() else torch.float32


def _cpu_computes_in_bfloat16() -> bool:
    if platform.machine() not in ("x86_64", "AMD64"):
        return False
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
