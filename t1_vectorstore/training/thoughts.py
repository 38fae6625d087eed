"""Sampled thoughts, what their vectors find, and what that is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from t1_vectorstore.prompts import Prompter
from t1_vectorstore.training import rewards
from t1_vectorstore.training.batching import PAD_ID, Encoder, Tokens, pack
from t1_vectorstore.training.configs import Reward
from t1_vectorstore.training.model import T1ForTraining

AT_ONCE = 256
"""Sequences of a forward pass without gradients."""


@torch.no_grad()
def sample(model: Any, prompts: Sequence[Sequence[int]], prompter: Prompter, temperature: float) -> list[list[int]]:  # noqa: ANN401 - transformers'
    """Let a causal language model think about each prompt.

    Args:
        model: Of transformers.
        prompts: Token ids up to where a thought begins.
        prompter: Whose stop tokens end a thought, and whose specification limits it.
        temperature: Of the sampling.

    Returns:
        The token ids of each thought, the one that ended it included; none ended it where the budget did.
    """
    width = max(map(len, prompts))
    device = model.get_input_embeddings().weight.device
    ids = torch.tensor([[PAD_ID] * (width - len(prompt)) + list(prompt) for prompt in prompts], device=device)
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
    was_training = model.training
    model.eval()
    # One step more than the budget: the token that closes a thought is not counted in it.
    output = model.generate(
        input_ids=ids,
        attention_mask=mask,
        do_sample=True,
        temperature=temperature,
        top_k=0,
        top_p=1.0,
        max_new_tokens=prompter.spec.decoding.max_tokens + 1,
        eos_token_id=list(prompter.stop_ids),
        pad_token_id=PAD_ID,
    )
    model.train(was_training)
    stops = set(prompter.stop_ids)
    thoughts = []
    for row in output[:, width:].tolist():
        end = next((at for at, token in enumerate(row) if token in stops), len(row) - 1)
        thoughts.append(row[: end + 1])
    return thoughts


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
        return queries @ self._vectors.T


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

    def __init__(self, model: T1ForTraining, prompter: Prompter, index: Index, reward: Reward) -> None:
        """Judge by ``reward``'s weights."""
        self._model, self._prompter, self._index, self._reward = model, prompter, index, reward

    def __call__(
        self, prompts: Sequence[Sequence[int]], thoughts: Sequence[Sequence[int]], positives: Sequence[Sequence[int]]
    ) -> list[Judged]:
        """Judge thoughts.

        Args:
            prompts: Token ids up to where each thought begins.
            thoughts: Token ids of the thoughts, with what ended them.
            positives: Row in the index of each right document.
        """
        stops, emb = set(self._prompter.stop_ids), self._prompter.emb_id
        bodies = [list(thought[:-1] if thought and thought[-1] in stops else thought) for thought in thoughts]
        rows = [[*prompt, *body, emb] for prompt, body in zip(prompts, bodies, strict=True)]
        parts = (rows[at : at + AT_ONCE] for at in range(0, len(rows), AT_ONCE))
        cosines = self._index.cosines(self._model.vectors(pack([Tokens(r, len(r)) for r in p]) for p in parts))
        appended = self._prompter.spec.emb_source == "appended"
        closing = stops if appended else {emb}
        closed = [bool(thought) and thought[-1] in closing for thought in thoughts]
        return [
            self._judge(scores, list(right), len(body), is_closed)
            for scores, right, body, is_closed in zip(cosines, positives, bodies, closed, strict=True)
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
        if exact is not None:
            self._recent = [*self._recent[-self._window + 1 :], exact]
            if len(self._recent) == self._window:
                mean = sum(self._recent) / self._window
                self._best = max(self._best, mean)
                if mean < self._best - self._collapse:
                    return (
                        f"exact thoughts have fallen from {self._best:.0%} to {mean:.0%} at step {step}: the policy "
                        "collapses. Lower learning_rate, or raise kl or replay"
                    )
        return None
