"""The losses of stages 1 and 2 as pure functions of tensors.

Shapes: Q queries, D documents, N predicted tokens, V vocabulary. Vectors are L2-normalised by the caller.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def language_model_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy in nats of the next tokens; zero, with gradients of zero, if there are none.

    Args:
        logits: (N, V), the prediction *of* each label, not at it.
        labels: (N,), token ids.
    """
    if labels.numel() == 0:
        return logits.float().sum()
    return functional.cross_entropy(logits.float(), labels)


def info_nce(
    queries: Tensor, documents: Tensor, positives: Tensor, temperature: float, ignored: Tensor | None = None
) -> Tensor:
    """Mean cross-entropy of picking each query's positive among all documents.

    Args:
        queries: (Q, dim).
        documents: (D, dim), each document once, so that no positive is its own negative.
        positives: (Q,), row of the positive in ``documents``.
        temperature: Divides the cosines; above zero.
        ignored: (Q, D), true where a document is no negative of a query: another right one.

    Raises:
        ValueError: ``temperature`` is not positive.
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, got {temperature!r}: 0.05 is usual")
    scores = queries.float() @ documents.float().T / temperature
    if ignored is not None:
        scores = scores.masked_fill(ignored, float("-inf"))
    return functional.cross_entropy(scores, positives)


def triplet_margin(
    queries: Tensor, documents: Tensor, positives: Tensor, margin: float, ignored: Tensor | None = None
) -> Tensor:
    """Mean of how far each query's hardest negative comes within ``margin`` (in cosine) of its positive.

    Args: as for :func:`info_nce`; zero if there is one document only.
    """
    if documents.shape[0] < 2:
        return queries.new_zeros(())
    scores = queries.float() @ documents.float().T
    own = scores.gather(1, positives[:, None])[:, 0]
    others = scores.scatter(1, positives[:, None], float("-inf"))
    if ignored is not None:
        others = others.masked_fill(ignored, float("-inf"))
    return functional.relu(margin - own + others.amax(dim=1)).mean()


def distillation(queries: Tensor, documents: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Mean Kullback-Leibler divergence of a query's distribution over the documents from its teacher's.

    Args:
        queries: (Q, dim).
        documents: (D, dim).
        teacher: (Q, D), the teacher's cosines; rows of NaN are left out.
        temperature: Divides both sides' cosines; above zero.
    """
    taught = teacher[:, 0].isfinite()
    if not taught.any():
        return queries.new_zeros(())
    queries, teacher = queries[taught], teacher[taught]
    own = (queries.float() @ documents.float().T / temperature).log_softmax(-1)
    return functional.kl_div(
        own, (teacher.float() / temperature).log_softmax(-1), log_target=True, reduction="batchmean"
    )
