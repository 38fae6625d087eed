"""The state of each thought from one decode step to the next, and the choice of tokens, for any local model.

A thought ends when the model samples a closing token, when its budget is spent, or at the deadline. Then the emb token
is the next input, and the hidden state at it is the vector. So ending a thought takes one decode step, whatever ended
it. A query that is refined continues from there: its hidden state is the next input, as often as there are steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from t1_vectorstore.backends.base import prompt_seed
from t1_vectorstore.checkpoints.spec import NO_REFINING, Decoding, Refining
from t1_vectorstore.types import StopReason, Trajectory


@dataclass
class ThoughtState:
    """One thought while it is generated.

    Attributes:
        index: Index of the thought in the call.
        prompt: The prompt's tokens.
        draws: A uniform random number for each token that may be sampled; empty if decoding is greedy.
        refining: Passes that follow the emb token.
        ids: The thought's tokens so far.
        position: Position of the next input, which is the number of inputs that the model has read.
        stop: Why the thought ended; set once the emb token is the next input, or the last one of the prompt.
        closing: Token with which the model ended the thought, if it did.
        passes: The pooled states ``(hidden,)`` at the emb token and at each state that was fed back after it.
        fed_back: The states ``(hidden,)`` that are inputs; the last one is the next input.
        state: The final state ``(hidden,)``, from which the vector is made; set when the thought is complete.
    """

    index: int
    prompt: Sequence[int]
    draws: Sequence[float] = ()
    refining: Refining = NO_REFINING
    ids: list[int] = field(default_factory=list)
    position: int = 0
    stop: StopReason | None = None
    closing: int | None = None
    passes: list[torch.Tensor] = field(default_factory=list)
    fed_back: list[torch.Tensor] = field(default_factory=list)
    state: torch.Tensor | None = None

    @classmethod
    def start(
        cls, index: int, prompt: Sequence[int], sample: int, decoding: Decoding, refining: Refining
    ) -> ThoughtState:
        """Start a thought, the prompt's ``sample``-th, with its own random numbers: batches do not change it."""
        if decoding.temperature == 0:
            return cls(index, prompt, refining=refining)
        generator = torch.Generator().manual_seed(prompt_seed(decoding, prompt) + sample)
        draws = torch.rand(decoding.max_tokens + 1, generator=generator, dtype=torch.float64)
        return cls(index, prompt, draws.tolist(), refining)

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
        decoding: Budget and sampling.
        deadline: ``time.monotonic()`` at which unfinished thoughts are closed.
        on_token: Called with each thought that has got a token.
    """

    to_logits: Callable[[torch.Tensor], torch.Tensor]
    emb_id: int
    stop_ids: frozenset[int]
    decoding: Decoding
    deadline: float | None
    on_token: Callable[[ThoughtState], None] | None = None

    def __call__(self, thoughts: Sequence[ThoughtState], last: torch.Tensor) -> list[int]:
        """Return each thought's next token, given the last hidden states; the emb token for those that have ended."""
        growing = [row for row, thought in enumerate(thoughts) if thought.stop is None]
        tokens = [self.emb_id] * len(thoughts)
        if growing:
            states = last if len(growing) == len(thoughts) else last[torch.tensor(growing, device=last.device)]
            for row, token in zip(growing, self._choose([thoughts[row] for row in growing], states), strict=True):
                tokens[row] = token
        return tokens

    def budget_is_spent(self, thought: ThoughtState) -> bool:
        """Whether a thought has as many tokens as it may have, so that it is closed whatever is sampled next."""
        return thought.stop is None and len(thought.ids) == self.decoding.max_tokens

    def _choose(self, thoughts: Sequence[ThoughtState], last: torch.Tensor) -> list[int]:
        if self.deadline is not None and time.monotonic() >= self.deadline:
            for thought in thoughts:
                thought.stop = "deadline"
            return [self.emb_id] * len(thoughts)
        draws = None
        if self.decoding.temperature > 0:
            draws = torch.tensor([thought.draws[len(thought.ids)] for thought in thoughts], device=last.device)
        sampled: list[int] = next_tokens(self.to_logits(last).float(), self.decoding, draws).tolist()
        return [self._append(thought, token) for thought, token in zip(thoughts, sampled, strict=True)]

    def _append(self, thought: ThoughtState, token: int) -> int:
        if token in self.stop_ids:
            thought.stop, thought.closing = "emb_token" if token == self.emb_id else "end_token", token
        elif len(thought.ids) >= self.decoding.max_tokens:
            thought.stop = "budget"
        else:
            thought.ids.append(token)
            if self.on_token is not None:
                self.on_token(thought)
            return token
        return self.emb_id


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
