"""Decides whether the answer to a query is sure enough without a thought: plain Python, without a model.

``think="auto"`` first searches with the vector of the query alone. The similarities of the nearest documents show how
sure that answer is. Three figures describe them:

    level      cosine similarity of the best document: low if nothing fits well
    margin     its distance from the second best: small if several fit alike
    entropy    of the softmax of the ten best similarities, as a share of its maximum: 1 if all fit alike

One score combines them: the sigmoid of a weighted sum. From a threshold on, the query is thought about. The weights are
those of a logistic regression on queries of ``t1-mini``, for which the score is the probability that a thought improves
the ranking. For other models and documents the same score orders queries by how unsure they are, and ``t1 calibrate``
fits the threshold.

The figures are common ones of query performance prediction in information retrieval. Their combination and the defaults
are choices of this project: T1's paper always thinks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from t1_vectorstore.types import Hit, ThinkDecision

TOP = 10
"""Number of documents whose similarities are looked at."""
PROBED = 30
"""Number of points that are searched for them; of several chunks of a document the best one counts."""
TEMPERATURE = 0.05
"""Temperature of the softmax, in units of the cosine similarity."""

DEFAULT_THRESHOLD = 0.3
"""Used for collections that were not calibrated. On the corpus of ``t1 demo`` it keeps 97% of the quality of always
thinking; see ``benchmarks/README.md``."""
_BIAS, _LEVEL, _MARGIN, _ENTROPY = 11.8, -13.2, -12.8, -2.1
"""From ``python -m benchmarks.adaptive --weights``: the terms of the weighted sum."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What the similarities of the best documents show."""

    level: float
    margin: float
    entropy: float


def figures(scores: Sequence[float]) -> Figures:
    """Describe the similarities of the best documents.

    Args:
        scores: At least two cosine similarities, best first; the first ``TOP`` count.
    """
    best, second, *_ = top = scores[:TOP]
    weights = [math.exp((score - best) / TEMPERATURE) for score in top]
    total = sum(weights)
    entropy = math.log(total) - sum(w * math.log(w) for w in weights if w > 0) / total
    return Figures(best, best - second, entropy / math.log(len(top)))


def unsureness(found: Figures) -> float:
    """Return the score of a ranking: 0 is sure, 1 is unsure."""
    total = _BIAS + _LEVEL * found.level + _MARGIN * found.margin + _ENTROPY * found.entropy
    return round(0.5 + 0.5 * math.tanh(total / 2), 6)  # the sigmoid, without overflow


def decide(hits: Sequence[Hit], threshold: float) -> ThinkDecision:
    """Decide by the nearest ``PROBED`` points of a search without a thought.

    Args:
        hits: The points, best first.
        threshold: Score from which to think: 0 always thinks, 1 never.
    """
    scores = ranked_scores(hits)
    if len(scores) < 2:
        found = "only one document" if scores else "no document"
        return ThinkDecision(False, 0.0, threshold, f"{found} can be found, so a thought cannot change the ranking")
    shown = figures(scores)
    score = unsureness(shown)
    thinks = threshold <= score and threshold < 1
    if threshold in (0, 1):
        return ThinkDecision(
            thinks, score, threshold, f"the threshold {threshold:g} {'always' if thinks else 'never'} thinks"
        )
    return ThinkDecision(
        thinks,
        score,
        threshold,
        f"{'unsure' if thinks else 'sure'} without a thought: the best similarity is {shown.level:.2f}, "
        f"{shown.margin:.2f} above the next, with entropy {shown.entropy:.2f}",
    )


def ranked_scores(hits: Sequence[Hit]) -> list[float]:
    """Return the similarities to decide by, best first: of documents, or of the chunks of a single one."""
    scores = document_scores(hits)
    return scores if len(scores) > 1 else [hit.score for hit in hits[:TOP]]


def document_scores(hits: Sequence[Hit]) -> list[float]:
    """Return the similarity of the best chunk of each document, best first, of at most ``TOP`` documents."""
    best: dict[str, float] = {}
    for hit in hits:
        best.setdefault(hit.document_id, hit.score)
    return list(best.values())[:TOP]
