"""Matrices that states are multiplied with, laid out as the device multiplies fastest.

On a CPU that is oneDNN's own blocked layout, made once at loading: torch would lay a bfloat16 weight out anew at every
call, and computes float32 with a library that is slow on AMD (105 against 247 GFLOP/s on an EPYC).
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch.nn import functional


class Linear(Protocol):
    """``x @ weight.T + bias``, for ``x`` of ``(n, inputs)``."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """The product, ``(n, outputs)``."""
        ...

    def onto(self, residual: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """The product added to ``residual``, which is left as it is."""
        ...


def make_linear(weight: torch.Tensor, bias: torch.Tensor | None = None) -> Linear:
    """The fastest of the kinds below for the weight's device and type."""
    if weight.device.type == "cpu" and weight.dtype in (torch.float32, torch.bfloat16):
        try:
            return _Prepacked(weight, bias)
        except (RuntimeError, AttributeError):  # a torch without oneDNN, or a CPU without what its bfloat16 needs
            pass
    return _Plain(weight, bias)


class _Plain:
    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        self._weight, self._bias = weight, bias

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(x, self._weight, self._bias)

    def onto(self, residual: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(x, self._weight, self._bias).add_(residual)


class _Prepacked:
    """The operators that torch's own compiler puts into a frozen model; there is no public name for them."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        self._product: Any = torch.ops.mkldnn._linear_pointwise.default
        self._sum: Any = torch.ops.mkldnn._linear_pointwise.binary
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), None)
        self._bias = bias
        self(weight.new_zeros(1, weight.shape[1]))  # what this CPU cannot do fails now

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        product: torch.Tensor = self._product(x, self._weight, self._bias, "none", [], "")
        return product

    def onto(self, residual: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        total: torch.Tensor = self._sum(x, residual, self._weight, self._bias, "add")
        return total
