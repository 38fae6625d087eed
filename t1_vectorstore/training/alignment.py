"""The orthonormal matrix that turns a teacher's vectors into the dimensions of the model in training.

Without it the model would have to find the teacher's axes first, which are arbitrary: only the cosines of vectors mean
something. The matrix follows the model: at first it fits the untrained model's vectors, later it is the polar factor of
a running cross-covariance of both, which solves the orthogonal Procrustes problem (Schoenemann, 1966).
"""

from __future__ import annotations

import torch
from torch import Tensor

from t1_vectorstore.errors import TrainingFailed


class Alignment:
    """An orthonormal matrix R (dim, teacher's dim), and the running cross-covariance that it is fitted to."""

    def __init__(self, decay: float, refit_every: int) -> None:
        """Create an alignment that ``fit`` or ``load_state_dict`` has to fill."""
        self._decay, self._refit_every = decay, refit_every
        self._matrix: Tensor | None = None
        self._covariance = torch.zeros(())
        self._updates = 0

    @property
    def is_fitted(self) -> bool:
        """Whether there is a matrix."""
        return self._matrix is not None

    def fit(self, vectors: Tensor, teacher: Tensor) -> None:
        """Fit R to the vectors (n, dim) of the untrained model and the teacher's vectors (n, teacher's dim).

        Means are subtracted: an untrained language model's vectors have a large one, and would be fitted to it alone.
        """
        self._matrix = polar_factor((vectors - vectors.mean(0)).T @ (teacher - teacher.mean(0)))
        self._covariance = torch.zeros_like(self._matrix)

    def __call__(self, teacher: Tensor) -> Tensor:
        """Return the teacher's vectors (n, teacher's dim) in the model's dimensions (n, dim)."""
        assert self._matrix is not None
        return teacher @ self._matrix.T.to(teacher.device)

    def update(self, covariance: Tensor) -> None:
        """Add a step's cross-covariance (dim, teacher's dim), and fit R again if that is due."""
        self._covariance = self._decay * self._covariance.to(covariance.device) + covariance
        self._updates += 1
        if self._updates % self._refit_every == 0:
            self._matrix = polar_factor(self._covariance)

    def state_dict(self) -> dict[str, Tensor]:
        """Return matrix, covariance and number of updates."""
        assert self._matrix is not None
        values = {"matrix": self._matrix, "covariance": self._covariance, "updates": torch.tensor(self._updates)}
        return {name: value.cpu() for name, value in values.items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Load a dictionary that ``state_dict`` returned."""
        self._matrix, self._covariance = state["matrix"], state["covariance"]
        self._updates = int(state["updates"])


def polar_factor(matrix: Tensor) -> Tensor:
    """Return the nearest matrix with orthonormal columns (or rows, whichever are fewer).

    Raises:
        TrainingFailed: The matrix is not finite.
    """
    if not matrix.isfinite().all():
        raise TrainingFailed("the vectors are not finite, so a teacher cannot be distilled: lower the learning rate")
    left, _, right = torch.linalg.svd(matrix.float(), full_matrices=False)
    nearest: Tensor = left @ right
    return nearest
