"""The losses of stage 1 as pure functions of tensors.

Shapes: Q queries, D documents, N predicted tokens, V vocabulary. Vectors are L2-normalised by the caller.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def language_model_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy in nats of the next tokens; zero if there are none.

    Args:
        logits: (N, V), the prediction *of* each label, not at it.
        labels: (N,), token ids.
    """
    if labels.numel() == 0:
        return logits.new_zeros(())
    return functional.cross_entropy(logits.float(), labels)


def info_nce(queries: Tensor, documents: Tensor, positives: Tensor, temperature: float) -> Tensor:
    """Mean cross-entropy of picking each query's positive among all documents.

    Args:
        queries: (Q, dim).
        documents: (D, dim), each document once, so that no positive is its own negative.
        positives: (Q,), row of the positive in ``documents``.
        temperature: Divides the cosines; above zero.

    Raises:
        ValueError: ``temperature`` is not positive.
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, got {temperature!r}: 0.05 is usual")
    return functional.cross_entropy(queries.float() @ documents.float().T / temperature, positives)


def triplet_margin(queries: Tensor, documents: Tensor, positives: Tensor, margin: float) -> Tensor:
    """Mean of how far each query's hardest negative comes within ``margin`` (in cosine) of its positive.

    Args: as for :func:`info_nce`; zero if there is one document only.
    """
    if documents.shape[0] < 2:
        return queries.new_zeros(())
    scores = queries.float() @ documents.float().T
    rows = torch.arange(scores.shape[0])
    own = scores[rows, positives]
    hardest = scores.scatter(1, positives[:, None], float("-inf")).amax(dim=1)
    return functional.relu(margin - own + hardest).mean()
