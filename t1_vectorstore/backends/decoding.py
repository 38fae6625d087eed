"""The state of each thought from one decode step to the next, and the choice of tokens, for any local model.

A thought ends when the model samples a closing token, when its budget is spent, or at the deadline. Then the emb token
is the next input, and the hidden state at it is the vector. So ending a thought takes one decode step, whatever ended
it. A query that is refined continues from there: its hidden state is the next input, as often as there are steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field

import torch

from t1_vectorstore.backends.base import prompt_seed
from t1_vectorstore.checkpoints.spec import NO_REFINING, Decoding, Refining
from t1_vectorstore.types import StopReason, Trajectory


@dataclass(eq=False)
class ThoughtState:
    """One thought while it is generated.

    Attributes:
        index: Index of the thought in its call.
        prompt: The prompt's tokens.
        decoding: Budget and sampling.
        deadline: ``time.monotonic()`` at which the thought is closed if it is unfinished.
        refining: Passes that follow the emb token.
        draws: A uniform random number for each token that may be sampled; empty if decoding is greedy.
        ids: The thought's tokens so far.
        stop: Why the thought ended; set once the emb token is the next input.
        closing: Token with which the model ended the thought, if it did.
        position: Position of the next input, which is the number of inputs that the model has read.
        passes: The pooled states ``(hidden,)`` at the emb token and at each state that was fed back after it.
        fed_back: The states ``(hidden,)`` that are inputs; the last one is the next input.
        state: The final state ``(hidden,)``, from which the vector is made; set when the thought is complete.
    """

    index: int
    prompt: Sequence[int]
    decoding: Decoding
    deadline: float | None = None
    refining: Refining = NO_REFINING
    draws: Sequence[float] = ()
    ids: list[int] = field(default_factory=list)
    stop: StopReason | None = None
    closing: int | None = None
    position: int = 0
    passes: list[torch.Tensor] = field(default_factory=list)
    fed_back: list[torch.Tensor] = field(default_factory=list)
    state: torch.Tensor | None = None

    @classmethod
    def start(
        cls,
        index: int,
        prompt: Sequence[int],
        decoding: Decoding,
        *,
        sample: int = 0,
        deadline: float | None = None,
        refining: Refining = NO_REFINING,
    ) -> ThoughtState:
        """Start a thought, the prompt's ``sample``-th, with its own random numbers: batches do not change it."""
        draws: Sequence[float] = ()
        if decoding.temperature > 0:
            generator = torch.Generator().manual_seed(prompt_seed(decoding, prompt) + sample)
            draws = torch.rand(decoding.max_tokens + 1, generator=generator, dtype=torch.float64).tolist()
        return cls(index, prompt, decoding, deadline, refining, draws)

    @property
    def length(self) -> int:
        """Maximum number of inputs: prompt, thought, emb token, and states that are fed back."""
        return len(self.prompt) + self.decoding.max_tokens + 1 + self.refining.steps

    def reading(self, emb_id: int) -> Sequence[int]:
        """Return the tokens to read before the next one can be generated: the prompt, and the thought so far."""
        if self.stop is not None:
            return [*self.prompt, *self.ids, emb_id]
        return [*self.prompt, *self.ids] if self.ids else self.prompt

    def restart(self) -> None:
        """Forget the states, as the cache is gone, and keep the tokens."""
        self.position, self.passes, self.fed_back = 0, [], []

    def add_pass(self, pooled: torch.Tensor, final: torch.Tensor) -> None:
        """Add the states at the emb token, or at the last state that was fed back.

        Args:
            pooled: State ``(hidden,)`` of the pooling layer.
            final: State ``(hidden,)`` of the last layer, after the final norm. It is fed back.
        """
        self.passes.append(pooled)
        if len(self.passes) <= self.refining.steps:
            self.fed_back.append(final)
            return
        # A copy, because a view would keep the states of the whole batch in memory.
        self.state = torch.stack(self.passes).float().mean(0) if self.refining.aggregate == "mean" else pooled.clone()
        self.passes, self.fed_back = [], []

    def trajectory(self) -> Trajectory:
        """Return the result of a complete thought."""
        assert self.stop is not None
        assert self.state is not None
        return Trajectory(self.ids, self.stop, self.state.float().cpu().numpy(), self.closing)


def step_inputs(embeddings: torch.Tensor, thoughts: Sequence[ThoughtState]) -> torch.Tensor:
    """Replace the token embeddings ``(thoughts, hidden)`` of refined thoughts by the states fed back, in place."""
    if refined := [row for row, thought in enumerate(thoughts) if thought.fed_back]:
        rows = torch.tensor(refined, device=embeddings.device)
        embeddings[rows] = torch.stack([thoughts[row].fed_back[-1] for row in refined])
    return embeddings


@dataclass(frozen=True)
class Sampler:
    """Chooses the next token of each thought, and closes the thoughts that have ended.

    Attributes:
        to_logits: Function from last hidden states ``(n, hidden)`` to logits ``(n, vocabulary)``.
        emb_id: The emb token.
        stop_ids: Tokens that end a thought, the emb token among them.
    """

    to_logits: Callable[[torch.Tensor], torch.Tensor]
    emb_id: int
    stop_ids: Container[int]

    def __call__(self, thoughts: Sequence[ThoughtState], last: torch.Tensor) -> list[int]:
        """Return each thought's next token, given the last hidden states; the emb token for those that have ended."""
        now, growing = time.monotonic(), []
        for row, thought in enumerate(thoughts):
            if thought.stop is None:
                if thought.deadline is not None and now >= thought.deadline:
                    thought.stop = "deadline"
                else:
                    growing.append(row)
        tokens = [self.emb_id] * len(thoughts)
        if growing:
            states = last if len(growing) == len(thoughts) else last[torch.tensor(growing, device=last.device)]
            sampled = self._sample([thoughts[row] for row in growing], states)
            for row, token in zip(growing, sampled, strict=True):
                tokens[row] = self._append(thoughts[row], token)
        return tokens

    def _sample(self, thoughts: Sequence[ThoughtState], last: torch.Tensor) -> list[int]:
        """Sample from the logits, once for all thoughts with the same settings."""
        logits = self.to_logits(last).float()
        groups: dict[tuple[float, ...], list[int]] = {}
        for row, thought in enumerate(thoughts):
            how = thought.decoding
            groups.setdefault((how.temperature, how.top_k, how.top_p) if how.temperature > 0 else (), []).append(row)
        tokens = [self.emb_id] * len(thoughts)
        for rows in groups.values():
            decoding = thoughts[rows[0]].decoding
            draws = None
            if decoding.temperature > 0:
                draws = torch.tensor([thoughts[row].draws[len(thoughts[row].ids)] for row in rows], device=last.device)
            part = logits if len(rows) == len(thoughts) else logits[torch.tensor(rows, device=last.device)]
            for row, token in zip(rows, next_tokens(part, decoding, draws).tolist(), strict=True):
                tokens[row] = token
        return tokens

    def _append(self, thought: ThoughtState, token: int) -> int:
        if token in self.stop_ids:
            thought.closing = token
            thought.stop = "emb_token" if token == self.emb_id else "end_token"
        elif budget_is_spent(thought):
            thought.stop = "budget"
        else:
            thought.ids.append(token)
            return token
        return self.emb_id


def budget_is_spent(thought: ThoughtState) -> bool:
    """Whether a thought has as many tokens as it may have, so that it is closed whatever is sampled next."""
    return thought.stop is None and len(thought.ids) >= thought.decoding.max_tokens


def next_tokens(logits: torch.Tensor, decoding: Decoding, draws: torch.Tensor | None) -> torch.Tensor:
    """Choose one token for each row.

    Args:
        logits: float32 ``(rows, vocabulary)``.
        decoding: Temperature, top-k and top-p.
        draws: A random number in [0, 1) for each row; ``None`` if decoding is greedy.

    Returns:
        ``(rows,)``.
    """
    if draws is None:
        return logits.argmax(-1)
    logits = logits / decoding.temperature
    if 0 < decoding.top_k < logits.shape[-1]:
        smallest = logits.topk(decoding.top_k).values[:, -1:]
        logits = logits.masked_fill(logits < smallest, float("-inf"))
    if decoding.top_p < 1:
        logits = _nucleus(logits, decoding.top_p)
    # Inverse transform sampling: each token has a part of [0, 1), and the draw falls into the part of the chosen token.
    # In float64, because a large vocabulary has many small parts.
    edges = logits.softmax(-1).double().cumsum(-1)
    chosen = torch.searchsorted(edges, draws[:, None].double() * edges[:, -1:], right=True)
    return chosen[:, 0].clamp(max=logits.shape[-1] - 1)


def _nucleus(logits: torch.Tensor, top_p: float) -> torch.Tensor:
    """Mask the least likely tokens that together have at most the probability ``1 - top_p`` (arXiv:1904.09751)."""
    ascending, order = logits.sort(-1)
    unlikely = ascending.softmax(-1).cumsum(-1) <= 1 - top_p
    unlikely[:, -1] = False
    return logits.masked_fill(torch.zeros_like(unlikely).scatter(-1, order, unlikely), float("-inf"))
