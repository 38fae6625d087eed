"""The layers of a decoder: linear layers, RMSNorm and rotary position embeddings, each as fast as the device allows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch.nn import functional
from torch.nn.functional import rms_norm

_NEEDED = {
    "default": set[str](),
    "linear": {"factor"},
    "llama3": {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"},
    "yarn": {"factor", "original_max_position_embeddings"},
}
_OPTIONAL = {"yarn": {"attention_factor", "beta_fast", "beta_slow"}}


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


class Norm:
    """Root mean square normalisation (arXiv:1910.07467) over the last dimension, in float32 as in transformers.

    ``x / sqrt(mean(x^2) + epsilon) * weight`` equals ``x / hypot(|x|, sqrt(n * epsilon)) * (sqrt(n) * weight)``, which
    takes few operations. torch's own ``rms_norm`` is one kernel on a GPU; on a CPU it is a chain of nine.
    """

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


@dataclass(frozen=True)
class Rope:
    """One of the kinds ``default``, ``linear``, ``llama3`` and ``yarn``, with its parameters."""

    KEYS: ClassVar[frozenset[str]] = frozenset(
        {"rope_theta", "rope_scaling", "rope_parameters", "max_position_embeddings"}
    )

    kind: str
    theta: float
    parameters: Mapping[str, float]

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> Rope | None:
        """What ``config.json`` asks for, as transformers 4 or 5 writes it; ``None`` for what is not computed here."""
        given = config.get("rope_scaling") or config.get("rope_parameters") or {}
        if not isinstance(given, Mapping):
            return None
        parameters = dict(given)
        theta = parameters.pop("rope_theta", config.get("rope_theta"))
        kinds = {parameters.pop(key) for key in ("rope_type", "type") if key in parameters} or {"default"}
        kind = kinds.pop()
        if kinds or kind not in _NEEDED or not _is_number(theta):
            return None
        needed, optional = _NEEDED[kind], _OPTIONAL.get(kind, set())
        if not needed <= set(parameters) <= needed | optional or not all(map(_is_number, parameters.values())):
            return None
        return cls(kind, float(theta), parameters)

    def frequencies(self, head_dim: int) -> torch.Tensor:
        """Radians per position, float32 ``(head_dim / 2,)``; the formulas are those of transformers."""
        exponents = torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim
        plain = 1.0 / self.theta**exponents
        if self.kind == "linear":
            return plain / self.parameters["factor"]
        if self.kind == "llama3":
            return self._llama3(plain)
        return self._yarn(plain, head_dim) if self.kind == "yarn" else plain

    @property
    def scale(self) -> float:
        """What rotated queries and keys are multiplied with: YaRN sharpens attention (arXiv:2309.00071, 3.4)."""
        if self.kind != "yarn":
            return 1.0
        factor = self.parameters["factor"]
        return self.parameters.get("attention_factor", 0.1 * math.log(factor) + 1.0 if factor > 1 else 1.0)

    def _llama3(self, plain: torch.Tensor) -> torch.Tensor:
        """Slow frequencies are divided by the factor, fast ones kept, those between blended."""
        factor, low, high, length = (
            self.parameters[key]
            for key in ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
        )
        turns = length * plain / (2 * math.pi)
        kept = ((turns - low) / (high - low)).clamp(0, 1)
        return (1 - kept) * plain / factor + kept * plain

    def _yarn(self, plain: torch.Tensor, head_dim: int) -> torch.Tensor:
        length = self.parameters["original_max_position_embeddings"]

        def dimension(turns: float) -> float:
            """Of the frequency that makes so many turns over the original length."""
            return head_dim * math.log(length / (turns * 2 * math.pi)) / (2 * math.log(self.theta))

        first = max(math.floor(dimension(self.parameters.get("beta_fast", 32))), 0)
        last = min(math.ceil(dimension(self.parameters.get("beta_slow", 1))), head_dim - 1)
        ramp = (torch.arange(head_dim // 2, dtype=torch.float32) - first) / max(last - first, 0.001)
        divided = ramp.clamp(0, 1)
        return divided * plain / self.parameters["factor"] + (1 - divided) * plain


def rotations(frequencies: torch.Tensor, scale: float, positions: torch.Tensor) -> torch.Tensor:
    """For each position and pair of dimensions a complex number, ``(n, 1, head_dim / 2)``."""
    angles = positions[:, None].float() * frequencies
    return torch.polar(torch.full_like(angles, scale), angles)[:, None]


def rotate(heads: torch.Tensor, by: torch.Tensor) -> None:
    """Rotate float32 ``(n, heads, head_dim)`` with interleaved halves, in its own place."""
    torch.view_as_complex(heads.view(*heads.shape[:-1], -1, 2)).mul_(by)


def interleaved(head_dim: int) -> torch.Tensor:
    """The order of a head's dimensions in which those rotated together are neighbours."""
    return torch.arange(head_dim).view(2, -1).T.flatten()


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0
