"""The losses of stages 1 and 2 as pure functions of tensors.

Shapes: Q queries, D documents, N predicted tokens, V vocabulary entries. Callers L2-normalise the vectors.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def language_model_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy of the next tokens, in nats; without tokens a zero that has gradients.

    Args:
        logits: Predictions (N, V) of the labels: row *i* is computed at the token before label *i*.
        labels: Token ids (N,).
    """
    if labels.numel() == 0:
        return logits.float().sum()
    return functional.cross_entropy(logits.float(), labels)


def ignored_documents(relevant: Tensor, documents: Tensor, positives: Tensor) -> Tensor:
    """Return which documents are not negatives of a query, because they are relevant but not its positive.

    Args:
        relevant: Corpus numbers of each query's relevant documents (Q, P), padded with -1.
        documents: Corpus number of each document (D,).
        positives: Index of each query's positive among the documents (Q,).

    Returns:
        Boolean tensor (Q, D).
    """
    ignored = (relevant[:, :, None] == documents).any(1)
    return ignored.scatter_(1, positives[:, None], False)


def info_nce(
    queries: Tensor, documents: Tensor, positives: Tensor, temperature: float, ignored: Tensor | None = None
) -> Tensor:
    """Return the mean cross-entropy of choosing each query's positive among all documents.

    Args:
        queries: Query vectors (Q, dim).
        documents: Vectors of distinct documents (D, dim).
        positives: Index of each query's positive in ``documents`` (Q,).
        temperature: Divisor of the cosines, above zero.
        ignored: True where a document is not a negative of a query (Q, D).

    Raises:
        ValueError: ``temperature`` is not positive.
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, got {temperature!r}: 0.05 is a usual value")
    scores = queries.float() @ documents.float().T / temperature
    if ignored is not None:
        scores = scores.masked_fill(ignored, float("-inf"))
    return functional.cross_entropy(scores, positives)


def triplet_margin(
    queries: Tensor, documents: Tensor, positives: Tensor, margin: float, ignored: Tensor | None = None
) -> Tensor:
    """Return the mean triplet loss with each query's hardest negative; ``margin`` is a difference of cosines.

    The arguments are those of ``info_nce``. A single document gives zero.
    """
    if documents.shape[0] < 2:
        return queries.new_zeros(())
    scores = queries.float() @ documents.float().T
    positive = scores.gather(1, positives[:, None])[:, 0]
    negatives = scores.scatter(1, positives[:, None], float("-inf"))
    if ignored is not None:
        negatives = negatives.masked_fill(ignored, float("-inf"))
    return functional.relu(margin - positive + negatives.amax(dim=1)).mean()


def distillation(queries: Tensor, documents: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return the mean KL divergence of each query's distribution over the documents from the teacher's.

    Args:
        queries: Query vectors (Q, dim).
        documents: Document vectors (D, dim).
        teacher: Teacher's cosines (Q, D); rows of NaN are left out.
        temperature: Divisor of both sides' cosines, above zero.
    """
    taught = teacher[:, 0].isfinite()
    if not taught.any():
        return queries.new_zeros(())
    scores = (queries[taught].float() @ documents.float().T / temperature).log_softmax(-1)
    target = (teacher[taught].float() / temperature).log_softmax(-1)
    return functional.kl_div(scores, target, log_target=True, reduction="batchmean")


def vector_distillation(vectors: Tensor, targets: Tensor) -> Tensor:
    """Return the mean of 1 - cosine between vectors and their targets (n, dim); without vectors zero."""
    if not len(vectors):
        return vectors.new_zeros(())
    return (1 - functional.cosine_similarity(vectors.float(), targets, dim=-1)).mean()
