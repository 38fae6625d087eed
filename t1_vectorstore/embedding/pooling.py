"""Turns hidden states into vectors, in the same way for every backend."""

from __future__ import annotations

import numpy as np

from t1_vectorstore.checkpoints.spec import CheckpointSpec
from t1_vectorstore.errors import BackendError
from t1_vectorstore.types import Vectors


def to_vectors(states: Vectors, spec: CheckpointSpec) -> Vectors:
    """Truncate hidden states ``(n, hidden)`` to ``truncate_dim``, then normalise each row if the specification says so.

    Raises:
        BackendError: A state that is not finite, or that is zero and must be normalised.
    """
    vectors = np.ascontiguousarray(states[:, : spec.truncate_dim], dtype=np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    bad = np.flatnonzero(~np.isfinite(lengths[:, 0]) | (spec.normalize & (lengths[:, 0] == 0)))
    if bad.size:
        raise BackendError(
            f"the model gave no usable vector for row {bad[0]} (norm {lengths[bad[0], 0]}); in float16 or bfloat16 try "
            "dtype='float32'; otherwise the weights are damaged"
        )
    return vectors / lengths if spec.normalize else vectors
