"""How close two models' vectors of the same texts are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from t1_vectorstore.types import Vectors


@dataclass(frozen=True)
class Cosines:
    """Cosines between the vectors of two models for the same texts."""

    least: float
    mean: float

    @classmethod
    def of(cls, one: Vectors, other: Vectors) -> Cosines:
        """Compare vectors row by row; a model's vectors need not be normalised."""
        product = (one * other).sum(1)
        cosines = product / (np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1))
        return cls(float(cosines.min()), float(cosines.mean()))
