"""The choice of tokens in numpy. It gives the same tokens as ``backends.decoding``, which computes with torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from t1_vectorstore.checkpoints.spec import Decoding

Floats = npt.NDArray[np.floating[Any]]


def uniform_draws(seed: int, count: int) -> npt.NDArray[np.float64]:
    """Return random numbers in [0, 1), equal to those of torch's CPU generator: MT19937, of which 53 bits are used."""
    words = np.random.RandomState(seed & 0xFFFF_FFFF).randint(0, 2**32, size=(count, 2), dtype=np.uint32)
    bits = (words[:, 0].astype(np.uint64) << np.uint64(32)) | words[:, 1]
    return (bits & np.uint64(2**53 - 1)).astype(np.float64) * 2.0**-53


def next_token(logits: Floats, decoding: Decoding, draw: float | None) -> int:
    """Choose a token.

    Args:
        logits: float32 ``(vocabulary,)``.
        decoding: Temperature, top-k and top-p.
        draw: A random number in [0, 1); ``None`` if decoding is greedy.
    """
    if draw is None:
        return int(logits.argmax())
    logits = logits / np.float32(decoding.temperature)
    if 0 < decoding.top_k < len(logits):
        smallest = np.partition(logits, -decoding.top_k)[-decoding.top_k]
        logits = np.where(logits < smallest, -np.inf, logits)
    if decoding.top_p < 1:
        logits = _nucleus(logits, decoding.top_p)
    # Inverse transform sampling: each token has a part of [0, 1), and the draw falls into the part of the chosen token.
    edges = _softmax(logits).astype(np.float64).cumsum()
    return min(int(edges.searchsorted(draw * edges[-1], side="right")), len(logits) - 1)


def _nucleus(logits: Floats, top_p: float) -> Floats:
    """Mask the least likely tokens that together have at most the probability ``1 - top_p`` (arXiv:1904.09751)."""
    order = logits.argsort(kind="stable")
    unlikely = _softmax(logits[order]).cumsum() <= 1 - top_p
    unlikely[-1] = False
    masked = logits.copy()
    masked[order[unlikely]] = -np.inf
    return masked


def _softmax(logits: Floats) -> Floats:
    exponents = np.exp(logits - logits.max())
    probabilities: Floats = exponents / exponents.sum()
    return probabilities
