"""The reward of stage 3: what a thought's vector retrieves, closing the thought, and its length.

The only public reward of T1's group (MQR-A1) is dense-retrieval nDCG, a length penalty, and the cosine to the positives
as shaping. The shape of each term, and its weight, are defaults of this project.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from t1_vectorstore.embedding.prompts import Prompter
from t1_vectorstore.training.configs import RewardWeights
from t1_vectorstore.training.model import T1ForTraining
from t1_vectorstore.training.packing import PromptEncoder, pack
from t1_vectorstore.types import Trajectory

CUTOFF = 10
"""Ranks below this one are worth nothing."""
PASS_SIZE = 256
"""Number of documents per forward pass."""


def discounted_rank(rank: int) -> float:
    """Return ``1 / log2(1 + rank)`` for ranks 1 to 10, else 0: the nDCG@10 of a query with one relevant document.

    Raises:
        ValueError: ``rank`` is below 1.
    """
    if rank < 1:
        raise ValueError(f"ranks are counted from 1, got {rank!r}")
    return 1.0 / math.log2(1 + rank) if rank <= CUTOFF else 0.0


def ndcg(ranks: Sequence[int]) -> float:
    """Return the nDCG@10 of a query from the ranks of all its relevant documents.

    Raises:
        ValueError: There are no ranks, or one is below 1.
    """
    if not ranks:
        raise ValueError("the reward needs a query with at least one relevant document")
    ideal = math.fsum(discounted_rank(rank) for rank in range(1, min(len(ranks), CUTOFF) + 1))
    return math.fsum(map(discounted_rank, ranks)) / ideal


def margin(best_positive: float, best_negative: float, width: float = 0.1) -> float:
    """Return ``sigmoid((best positive - best negative) / width)`` of two cosines; it still grows at rank 1."""
    return 1.0 / (1.0 + math.exp(-(best_positive - best_negative) / width))


def excess_length(tokens: int, free: int, budget: int) -> float:
    """Return how far a thought's length is between ``free`` and ``budget`` tokens, from 0 to 1.

    Raises:
        ValueError: ``budget`` is not above ``free``.
    """
    if budget <= free:
        raise ValueError(f"budget must be above free={free!r} tokens, got {budget!r}")
    return min(1.0, max(0.0, (tokens - free) / (budget - free)))


class CorpusIndex:
    """The vectors of a corpus, for exact search. Training moves them all, so they are recomputed at intervals."""

    def __init__(self, encoder: PromptEncoder, texts: Sequence[str]) -> None:
        """Tokenize the documents. Call ``refresh`` before the first search."""
        self._documents = encoder.documents(texts)
        self._vectors = torch.empty(0)

    def refresh(self, model: T1ForTraining, *, bfloat16: bool = True) -> None:
        """Embed every document with the current model, computed in bfloat16 or float32."""
        parts = (self._documents[at : at + PASS_SIZE] for at in range(0, len(self._documents), PASS_SIZE))
        self._vectors = model.vectors((pack(part) for part in parts), bfloat16=bfloat16)

    def cosines(self, queries: Tensor) -> Tensor:
        """Return the cosines (Q, documents) of unit vectors (Q, dim)."""
        return queries.to(self._vectors) @ self._vectors.T


@dataclass(frozen=True)
class ThoughtReward:
    """A thought's reward, and its unweighted terms."""

    reward: float
    rank: float
    margin: float
    cosine: float
    closed: bool


class RetrievalReward:
    """Rewards thoughts for what their own vectors retrieve from the index."""

    def __init__(self, prompter: Prompter, index: CorpusIndex, weights: RewardWeights) -> None:
        """Create a reward with these weights."""
        self._spec, self._index, self._weights = prompter.spec, index, weights

    def __call__(self, thoughts: Sequence[Trajectory], positives: Sequence[Sequence[int]]) -> list[ThoughtReward]:
        """Compute the rewards.

        Args:
            thoughts: Thoughts, with the hidden states that become vectors in serving.
            positives: Rows in the index of each thought's relevant documents.
        """
        states = torch.from_numpy(np.stack([thought.state for thought in thoughts]))[:, : self._spec.truncate_dim]
        cosines = self._index.cosines(functional.normalize(states, dim=-1))
        closed_by = {"emb_token", "end_token"} if self._spec.emb_source == "appended" else {"emb_token"}
        return [
            self._reward(scores, list(rows), len(thought.ids), thought.stop in closed_by)
            for scores, rows, thought in zip(cosines, positives, thoughts, strict=True)
        ]

    def _reward(self, scores: Tensor, positives: list[int], tokens: int, closed: bool) -> ThoughtReward:
        weights, budget = self._weights, self._spec.decoding.max_tokens
        # 1. Rank: where the relevant documents are in the ranking of the whole corpus.
        relevant = scores[positives]
        negatives = scores.clone()
        negatives[positives] = float("-inf")
        # Ties count against the relevant document. Each is ranked among the negatives and the better relevant ones.
        better = (negatives >= relevant[:, None]).sum(1) + (relevant > relevant[:, None]).sum(1)
        rank = ndcg([1 + int(count) for count in better])
        # 2. Shaping terms, which still vary where the rank does not.
        cosine = float(relevant.max())
        shaped_margin = margin(cosine, float(negatives.max()), weights.margin_width)
        length = excess_length(tokens, weights.free_tokens, budget) if weights.length else 0.0
        # 3. The weighted sum: the weight of an unclosed thought is negative, and that of the length is subtracted.
        total = weights.rank * rank + weights.margin * shaped_margin + weights.cosine * cosine
        total += weights.unclosed * (not closed) - weights.length * length
        return ThoughtReward(total, rank, shaped_margin, cosine, closed)
