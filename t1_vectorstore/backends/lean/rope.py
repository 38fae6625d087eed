"""Rotary position embeddings: frequencies as config.json asks for them, and their application as complex numbers.

A rotation by an angle is a multiplication with a complex number. For that the two halves of a head that are rotated
together must lie next to each other; :func:`interleaved` tells the order in which the weights are loaded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

_NEEDED = {
    "default": set[str](),
    "linear": {"factor"},
    "llama3": {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"},
    "yarn": {"factor", "original_max_position_embeddings"},
}
_OPTIONAL = {"yarn": {"attention_factor", "beta_fast", "beta_slow"}}


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
