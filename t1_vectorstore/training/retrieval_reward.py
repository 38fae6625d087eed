"""What thoughts' vectors find, and what that is worth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from t1_vectorstore.embedding.prompts import Prompter
from t1_vectorstore.training import rewards
from t1_vectorstore.training.batching import Encoder, pack
from t1_vectorstore.training.configs import Reward
from t1_vectorstore.training.model import T1ForTraining
from t1_vectorstore.types import Trajectory

AT_ONCE = 256
"""Sequences of a forward pass without gradients."""


class Index:
    """The vectors of the whole corpus, searched exactly; made anew now and then, since training moves them all."""

    def __init__(self, encoder: Encoder, texts: Sequence[str]) -> None:
        """Encode the documents; :meth:`refresh` before the first search."""
        self._documents = encoder.documents(texts)
        self._vectors = torch.empty(0)

    def refresh(self, model: T1ForTraining) -> None:
        """Embed every document with the model as it is."""
        parts = (self._documents[at : at + AT_ONCE] for at in range(0, len(self._documents), AT_ONCE))
        self._vectors = model.vectors(pack(part) for part in parts)

    def cosines(self, queries: Tensor) -> Tensor:
        """(Q, documents) of unit vectors (Q, dim)."""
        return queries.to(self._vectors) @ self._vectors.T


@dataclass(frozen=True)
class Judged:
    """A thought's reward, and the terms it is made of, unweighted."""

    reward: float
    rank: float
    margin: float
    cosine: float
    closed: bool


class Judge:
    """Rewards thoughts for what their own vectors find in the index."""

    def __init__(self, prompter: Prompter, index: Index, reward: Reward) -> None:
        """Judge by ``reward``'s weights."""
        self._prompter, self._index, self._reward = prompter, index, reward

    def __call__(self, thoughts: Sequence[Trajectory], positives: Sequence[Sequence[int]]) -> list[Judged]:
        """Judge thoughts.

        Args:
            thoughts: With the states that serving would make vectors of.
            positives: Row in the index of each right document.
        """
        spec = self._prompter.spec
        states = torch.from_numpy(np.stack([thought.state for thought in thoughts]))[:, : spec.truncate_dim]
        cosines = self._index.cosines(functional.normalize(states, dim=-1))
        closings = {"emb_token", "end_token"} if spec.emb_source == "appended" else {"emb_token"}
        return [
            self._judge(scores, list(right), len(thought.ids), thought.stop in closings)
            for scores, right, thought in zip(cosines, positives, thoughts, strict=True)
        ]

    def _judge(self, scores: Tensor, right: list[int], tokens: int, closed: bool) -> Judged:
        weights, budget = self._reward, self._prompter.spec.decoding.max_tokens
        own = scores[right]
        wrong = scores.clone()
        wrong[right] = float("-inf")
        # Ties count against the right one. Each rank is among the wrong documents and the better right ones.
        above = (wrong >= own[:, None]).sum(1) + (own > own[:, None]).sum(1)
        rank = rewards.ndcg([1 + int(count) for count in above])
        distance = rewards.margin(float(own.max()), float(wrong.max()), weights.margin_width)
        length = rewards.too_long(tokens, weights.free_tokens, budget) if weights.length else 0.0
        total = weights.rank * rank + weights.margin * distance + weights.cosine * float(own.max())
        total += weights.unclosed * (not closed) - weights.length * length
        return Judged(total, rank, distance, float(own.max()), closed)


class Watch:
    """Stops a run whose policy collapses, or whose rewards say nothing."""

    def __init__(self, collapse: float, patience: int, window: int = 20) -> None:
        """Set the limits.

        Args:
            collapse: Stop if exact thoughts, averaged over ``window`` steps, fall so far below their best.
            patience: Stop if no group's rewards vary in so many steps one after another.
            window: Steps.
        """
        self._collapse, self._patience, self._window = collapse, patience, window
        self._best, self._still = 0.0, 0
        self._recent: list[float] = []

    def __call__(self, step: int, groups: Sequence[Sequence[float]], exact: float | None) -> str | None:
        """Take in a step's rewards, by group, and its share of exact thoughts, if any are known.

        Returns:
            Why the run is to stop, or None.
        """
        varies = any(max(group) - min(group) > 1e-6 for group in groups)
        self._still = 0 if varies else self._still + 1
        if self._still >= self._patience:
            return (
                f"the rewards of every group have been equal for {self._still} steps, the last at step {step}: nothing "
                "can be learnt from them. Raise sampling, give harder queries, or check that the positives are right"
            )
        if exact is None:
            return None
        mean = self._take(exact)
        if mean is not None and mean < self._best - self._collapse:
            return (
                f"exact thoughts have fallen from {self._best:.0%} to {mean:.0%} at step {step}: the policy "
                "collapses. Lower learning_rate, or raise kl or replay"
            )
        return None

    def recall(self, logged: Iterable[float], every: int) -> None:
        """Take in what a run that is continued had come to.

        Args:
            logged: Its shares of exact thoughts, each the mean of so many steps.
            every: How many.
        """
        for share in logged:
            for _ in range(every):
                self._take(share)

    def _take(self, exact: float) -> float | None:
        """The mean over the window with one more step, once there are as many."""
        self._recent = [*self._recent[-self._window + 1 :], exact]
        if len(self._recent) < self._window:
            return None
        mean = sum(self._recent) / self._window
        self._best = max(self._best, mean)
        return mean
