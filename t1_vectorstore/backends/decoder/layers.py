"""The layers of a decoder: linear layers, RMSNorm and rotary position embeddings, as fast as each device allows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch.nn import functional
from torch.nn.functional import rms_norm

_REQUIRED = {
    "default": set[str](),
    "linear": {"factor"},
    "llama3": {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"},
    "yarn": {"factor", "original_max_position_embeddings"},
}
"""The kinds of rotary embeddings, and the parameters that each one needs."""

_OPTIONAL = {"yarn": {"attention_factor", "beta_fast", "beta_slow"}}


class Linear:
    """A linear layer, ``x @ weight.T + bias``, for ``x`` of shape ``(n, inputs)``."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        self._weight, self._bias = weight, bias

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return the product, ``(n, outputs)``."""
        return functional.linear(x, self._weight, self._bias)

    def add(self, residual: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Return ``residual`` plus the product, as a new tensor."""
        return functional.linear(x, self._weight, self._bias).add_(residual)


class _PrepackedLinear(Linear):
    """The same by the operators that torch's own compiler puts into a frozen model. They have no public names."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        self._linear: Callable[..., torch.Tensor] = torch.ops.mkldnn._linear_pointwise.default
        self._linear_add: Callable[..., torch.Tensor] = torch.ops.mkldnn._linear_pointwise.binary
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), None)
        self._bias = bias
        self(weight.new_zeros(1, weight.shape[1]))  # raises now if this CPU does not support it

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self._linear(x, self._weight, self._bias, "none", [], "")

    def add(self, residual: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return self._linear_add(x, residual, self._weight, self._bias, "add")


def make_linear(weight: torch.Tensor, bias: torch.Tensor | None = None) -> Linear:
    """Create the fastest linear layer for the weight's device and type.

    On a CPU the weight is converted to oneDNN's own blocked layout, once, when the model is loaded. With an ordinary
    layout, torch converts a bfloat16 weight at every call, and computes float32 with a library that is slow on AMD (105
    against 247 GFLOP/s on an EPYC).
    """
    if weight.device.type == "cpu" and weight.dtype in (torch.float32, torch.bfloat16):
        try:
            return _PrepackedLinear(weight, bias)
        except (RuntimeError, AttributeError):  # torch without oneDNN, or a CPU that does not support its bfloat16
            pass
    return Linear(weight, bias)


class RMSNorm:
    """Root mean square normalisation (arXiv:1910.07467) over the last dimension, in float32 as in transformers.

    ``x / sqrt(mean(x^2) + epsilon) * weight`` equals ``x / hypot(|x|, sqrt(n * epsilon)) * (sqrt(n) * weight)``, which
    takes few operations. torch's own ``rms_norm`` is one kernel on a GPU, but a chain of nine operations on a CPU. The
    weight is ``(n,)``, or ``(heads, n)`` if each head has its own.
    """

    def __init__(self, weight: torch.Tensor, epsilon: float) -> None:
        size = weight.shape[-1]
        self._weight, self._epsilon = weight, epsilon
        self._scaled_weight = weight.float() * size**0.5
        self._scaled_epsilon = torch.tensor((size * epsilon) ** 0.5, device=weight.device)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise ``(..., n)``, of any type."""
        if x.device.type != "cpu":
            return rms_norm(x, self._weight.shape, self._weight, self._epsilon)
        exact = x.float()
        return self._on_cpu(exact, torch.empty_like(x) if exact is x else exact).to(x.dtype)

    def normalize_heads(self, heads: torch.Tensor) -> torch.Tensor:
        """Normalise float32 ``(..., heads, n)``. The input may be overwritten."""
        if heads.device.type != "cpu":
            return rms_norm(heads, heads.shape[-1:], None, self._epsilon).mul_(self._weight)
        return self._on_cpu(heads, heads)

    def _on_cpu(self, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        return torch.div(x, torch.hypot(length, self._scaled_epsilon), out=out).mul_(self._scaled_weight)


@dataclass(frozen=True)
class Rope:
    """Rotary position embeddings of the kind ``default``, ``linear``, ``llama3`` or ``yarn``, with its parameters."""

    KEYS: ClassVar[frozenset[str]] = frozenset(
        {"rope_theta", "rope_scaling", "rope_parameters", "max_position_embeddings"}
    )

    kind: str
    theta: float
    parameters: Mapping[str, float]

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> Rope | None:
        """Read a ``config.json`` as transformers 4 or 5 writes it; ``None`` if its kind is not supported."""
        given = config.get("rope_scaling") or config.get("rope_parameters") or {}
        if not isinstance(given, Mapping):
            return None
        parameters = dict(given)
        theta = parameters.pop("rope_theta", config.get("rope_theta"))
        kinds = {parameters.pop(key) for key in ("rope_type", "type") if key in parameters} or {"default"}
        kind = kinds.pop()
        if kinds or kind not in _REQUIRED or not _is_number(theta):
            return None
        required, optional = _REQUIRED[kind], _OPTIONAL.get(kind, set())
        if not required <= set(parameters) <= required | optional or not all(map(_is_number, parameters.values())):
            return None
        return cls(kind, float(theta), parameters)

    def frequencies(self, head_dim: int) -> torch.Tensor:
        """Return radians per position, float32 ``(head_dim / 2,)``, by the formulas of transformers."""
        exponents = torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim
        plain = 1.0 / self.theta**exponents
        if self.kind == "default":
            return plain
        if self.kind == "linear":
            return plain / self.parameters["factor"]
        # Low frequencies are divided by the factor, high ones are kept, and those in between are blended.
        kept = self._kept_llama3(plain) if self.kind == "llama3" else self._kept_yarn(head_dim)
        return (1 - kept) * plain / self.parameters["factor"] + kept * plain

    @property
    def scale(self) -> float:
        """Factor of the rotated queries and keys. YaRN sharpens attention with it (arXiv:2309.00071, section 3.4)."""
        if self.kind != "yarn":
            return 1.0
        factor = self.parameters["factor"]
        return self.parameters.get("attention_factor", 0.1 * math.log(factor) + 1.0 if factor > 1 else 1.0)

    def _kept_llama3(self, plain: torch.Tensor) -> torch.Tensor:
        """Return the share that is kept, which grows with the number of turns over the original length."""
        low, high = self.parameters["low_freq_factor"], self.parameters["high_freq_factor"]
        turns = self.parameters["original_max_position_embeddings"] * plain / (2 * math.pi)
        return ((turns - low) / (high - low)).clamp(0, 1)

    def _kept_yarn(self, head_dim: int) -> torch.Tensor:
        """Return the share that is kept, which falls linearly between two dimensions."""
        length = self.parameters["original_max_position_embeddings"]

        def dimension(turns: float) -> float:
            """Return the dimension whose frequency makes this number of turns over the original length."""
            return head_dim * math.log(length / (turns * 2 * math.pi)) / (2 * math.log(self.theta))

        first = max(math.floor(dimension(self.parameters.get("beta_fast", 32))), 0)
        last = min(math.ceil(dimension(self.parameters.get("beta_slow", 1))), head_dim - 1)
        ramp = (torch.arange(head_dim // 2, dtype=torch.float32) - first) / max(last - first, 0.001)
        return 1 - ramp.clamp(0, 1)


def rotations(frequencies: torch.Tensor, scale: float, positions: torch.Tensor) -> torch.Tensor:
    """Return a complex number for each position and pair of dimensions, ``(n, 1, head_dim / 2)``."""
    angles = positions[:, None].float() * frequencies
    return torch.polar(torch.full_like(angles, scale), angles)[:, None]


def rotate_(heads: torch.Tensor, rotation: torch.Tensor) -> None:
    """Rotate float32 ``(n, heads, head_dim)`` in place; the dimensions must be ``interleaved``."""
    torch.view_as_complex(heads.view(*heads.shape[:-1], -1, 2)).mul_(rotation)


def interleaved(head_dim: int) -> torch.Tensor:
    """Return the order of a head's dimensions that puts those rotated together next to each other."""
    return torch.arange(head_dim).view(2, -1).T.flatten()


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0
