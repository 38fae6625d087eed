"""Devices and number types by name, checked against this machine."""

from __future__ import annotations

import platform

import torch


def find_device(name: str) -> torch.device:
    """A device; ``auto`` takes a GPU where there is one.

    Raises:
        ValueError: it is not on this machine.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type == "cuda" and (device.index or 0) < torch.cuda.device_count():
            return device  # a tensor on it would take half a gigabyte of it, also where another process is to use it
        torch.zeros(1, device=device).item()  # 'meta' makes tensors, but none that hold numbers
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"device {name!r} is not on this machine: {error}".splitlines()[0]) from error
    return device


def find_dtype(name: str, device: torch.device) -> torch.dtype:
    """One of the types of :data:`~t1_vectorstore.backends.options.DTYPES`."""
    if name != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.bfloat16 if device.type == "cpu" and _cpu_computes_in_bfloat16() else torch.float32


def _cpu_computes_in_bfloat16() -> bool:
    if platform.machine() not in ("x86_64", "AMD64"):
        return False
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
