"""The documents of earlier steps as further negatives, which cost no forward pass (XBM, arXiv:1912.06798)."""

from __future__ import annotations

import torch
from torch import Tensor


class DocumentQueue:
    """Vectors of the last documents of a stage. They are a few steps old, without gradients.

    Attributes:
        vectors: Vectors of the documents (n, dim).
        numbers: Their numbers in the corpus (n,). Repeated documents are stored repeatedly.
        teacher: Vectors of the teacher that is distilled (n, teacher's dim); (n, 0) without one.
    """

    def __init__(self, size: int) -> None:
        """Create an empty queue for up to ``size`` documents."""
        self._size = size
        self.vectors, self.teacher = torch.zeros(0, 0), torch.zeros(0, 0)
        self.numbers = torch.zeros(0, dtype=torch.long)

    def add(self, vectors: Tensor, numbers: Tensor, teacher: Tensor) -> None:
        """Add the documents of a step, and drop the oldest ones."""
        new = vectors.detach().float(), numbers, teacher
        old = (self.vectors, self.numbers, self.teacher) if len(self.numbers) else tuple(part[:0] for part in new)
        self.vectors, self.numbers, self.teacher = (
            torch.cat([before.to(part.device), part])[-self._size :] for before, part in zip(old, new, strict=True)
        )

    def state_dict(self) -> dict[str, Tensor]:
        """Return all tensors, on the CPU."""
        return {"vectors": self.vectors.cpu(), "numbers": self.numbers.cpu(), "teacher": self.teacher.cpu()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Load a dictionary that ``state_dict`` returned."""
        self.vectors, self.numbers, self.teacher = state["vectors"], state["numbers"], state["teacher"]
