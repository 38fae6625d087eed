"""Root mean square normalisation (arXiv:1910.07467) in few operations, since on a CPU each has its price.

``x / sqrt(mean(x^2) + epsilon) * weight`` is ``x / hypot(|x|, sqrt(n * epsilon)) * (sqrt(n) * weight)``. torch's own
:func:`~torch.nn.functional.rms_norm` is one kernel on a GPU; on a CPU it is a chain of nine.
"""

from __future__ import annotations

import torch
from torch.nn.functional import rms_norm


class Norm:
    """Over the last dimension, computed in float32 as transformers does."""

    def __init__(self, weight: torch.Tensor, epsilon: float) -> None:
        """Take the weight: ``(n,)``, or ``(heads, n)`` where each head has its own."""
        size = weight.shape[-1]
        self._weight, self._epsilon = weight, epsilon
        self._stretched = weight.float() * size**0.5
        self._least = torch.tensor((size * epsilon) ** 0.5, device=weight.device)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """``(..., n)`` normalised, of the same type."""
        if x.device.type != "cpu":
            return rms_norm(x, self._weight.shape, self._weight, self._epsilon)
        exact = x.float()
        return self._on_cpu(exact, torch.empty_like(x) if exact is x else exact).to(x.dtype)

    def of_heads(self, exact: torch.Tensor) -> torch.Tensor:
        """Float32 ``(..., heads, n)`` normalised, if need be in its own place."""
        if exact.device.type != "cpu":
            return rms_norm(exact, exact.shape[-1:], None, self._epsilon).mul_(self._weight)
        return self._on_cpu(exact, exact)

    def _on_cpu(self, exact: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        length = torch.linalg.vector_norm(exact, dim=-1, keepdim=True)
        return torch.div(exact, torch.hypot(length, self._least), out=out).mul_(self._stretched)
