"""What becomes of a thought from step to step, whichever model makes the steps.

A row that samples a closing token is fed the emb token in the next step, and the hidden state of that step is its
vector. A row whose budget is spent is closed in the same way, so a cut thought costs no more than a finished one:
one decode step after its last token. That last token itself is fed too, as every token is (it is never in the cache
when it is sampled); the lean path feeds both in one step where all rows are that far. A query that is refined goes on
from there: its state is fed back as the next input, step by step.
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
    """One prompt on its way.

    Attributes:
        index: of the thought in the call.
        prompt: its tokens.
        draws: a random number for each token that may come; empty where decoding is greedy.
        refining: what follows the emb token.
        ids: the thought so far.
        read: how many inputs the model has got, tokens and states; the position of the next one.
        stop: why the thought ended; set when its emb token is to be fed, or is the last of the prompt.
        closing: the token that the thought ended with, if it was not cut.
        passes: ``(hidden,)`` each, the pooled states at the emb token and at what was fed back after it.
        fed_back: ``(hidden,)`` each, the states that are inputs; the last of them is the next one.
        state: ``(hidden,)``, what the vector is made of; set when nothing is left to be done.
    """

    index: int
    prompt: Sequence[int]
    draws: Sequence[float] = ()
    refining: Refining = NO_REFINING
    ids: list[int] = field(default_factory=list)
    read: int = 0
    stop: StopReason | None = None
    closing: int | None = None
    passes: list[torch.Tensor] = field(default_factory=list)
    fed_back: list[torch.Tensor] = field(default_factory=list)
    state: torch.Tensor | None = None

    @classmethod
    def begin(
        cls, index: int, prompt: Sequence[int], decoding: Decoding, refining: Refining, *, nth: int = 0
    ) -> ThoughtState:
        """A row's random numbers are its own, so that its thought does not depend on the batch it is in.

        Args:
            index: of the thought in the call.
            prompt: its tokens.
            decoding: budget and sampling.
            refining: what follows the thought.
            nth: which of the prompt's thoughts it is, from 0.
        """
        if decoding.temperature == 0:
            return cls(index, prompt, (), refining)
        generator = torch.Generator().manual_seed(prompt_seed(decoding, prompt) + nth)
        draws = torch.rand(decoding.max_tokens + 1, generator=generator, dtype=torch.float64)
        return cls(index, prompt, draws.tolist(), refining)

    @classmethod
    def closed(cls, index: int, prompt: Sequence[int], refining: Refining) -> ThoughtState:
        """A prompt that ends with the emb token: there is nothing to think, only to refine."""
        return cls(index, prompt, refining=refining, stop="emb_token")

    def take(self, pooled: torch.Tensor, final: torch.Tensor) -> None:
        """Take what the model made of the emb token, or of the state that was fed back last; both are kept as they are.

        Args:
            pooled: ``(hidden,)``, of the layer that is pooled.
            final: ``(hidden,)``, of the last layer, after the final norm.
        """
        self.passes.append(pooled)
        if len(self.passes) <= self.refining.steps:
            self.fed_back.append(final)
            return
        # A copy, since the pass's states of all rows would be kept with a view.
        self.state = torch.stack(self.passes).float().mean(0) if self.refining.aggregate == "mean" else pooled.clone()
        self.passes, self.fed_back = [], []

    def trajectory(self) -> Trajectory:
        """What a closed row has come to."""
        assert self.stop is not None
        assert self.state is not None
        return Trajectory(self.ids, self.stop, self.state.float().cpu().numpy(), self.closing)


def step_inputs(embedded: torch.Tensor, rows: Sequence[ThoughtState]) -> torch.Tensor:
    """The inputs of a step: for rows that are refined their states, for all others their tokens' embeddings.

    Args:
        embedded: of the rows' tokens, ``(rows, hidden)``; changed in place.
        rows: those of the step.
    """
    if refined := [at for at, row in enumerate(rows) if row.fed_back]:
        at = torch.tensor(refined, device=embedded.device)
        embedded[at] = torch.stack([rows[row].fed_back[-1] for row in refined])
    return embedded


@dataclass(frozen=True)
class Sampler:
    """Chooses each row's next token, and closes the rows that are at their end.

    Attributes:
        to_logits: last hidden states -> logits over the vocabulary, both ``(rows, ...)``.
        emb_id: the emb token.
        stop_ids: the tokens that end a thought, the emb token among them.
        decoding: budget and sampling.
        deadline: ``time.monotonic()`` after which thoughts are closed as they stand.
        on_growth: told of each row that has got a token.
    """

    to_logits: Callable[[torch.Tensor], torch.Tensor]
    emb_id: int
    stop_ids: frozenset[int]
    decoding: Decoding
    deadline: float | None
    on_growth: Callable[[ThoughtState], None] | None = None

    def __call__(self, rows: Sequence[ThoughtState], last: torch.Tensor) -> list[int]:
        """The next token of each row; a row that ends gets the emb token, as does one that needs none any more."""
        thinking = [at for at, row in enumerate(rows) if row.stop is None]
        tokens = [self.emb_id] * len(rows)
        if thinking:
            chosen = last if len(thinking) == len(rows) else last[torch.tensor(thinking, device=last.device)]
            for at, token in zip(thinking, self._choose([rows[at] for at in thinking], chosen), strict=True):
                tokens[at] = token
        return tokens

    def is_last(self, row: ThoughtState) -> bool:
        """Whether a row has been given as many tokens as it may have, so that it is closed whatever comes next."""
        return row.stop is None and len(row.ids) == self.decoding.max_tokens

    def _choose(self, rows: Sequence[ThoughtState], last: torch.Tensor) -> list[int]:
        if self.deadline is not None and time.monotonic() >= self.deadline:
            for row in rows:
                row.stop = "deadline"
            return [self.emb_id] * len(rows)
        draws = None
        if self.decoding.temperature > 0:
            draws = torch.tensor([row.draws[len(row.ids)] for row in rows], device=last.device)
        sampled: list[int] = next_tokens(self.to_logits(last).float(), self.decoding, draws).tolist()
        return [self._advance(row, token) for row, token in zip(rows, sampled, strict=True)]

    def _advance(self, row: ThoughtState, token: int) -> int:
        if token in self.stop_ids:
            row.stop, row.closing = "emb_token" if token == self.emb_id else "end_token", token
        elif len(row.ids) >= self.decoding.max_tokens:
            row.stop = "budget"
        else:
            row.ids.append(token)
            if self.on_growth is not None:
                self.on_growth(row)
            return token
        return self.emb_id


def next_tokens(logits: torch.Tensor, decoding: Decoding, draws: torch.Tensor | None) -> torch.Tensor:
    """One token for each row.

    Args:
        logits: float32 ``(rows, vocabulary)``.
        decoding: how to choose.
        draws: uniform on [0, 1), one for each row; ``None`` where decoding is greedy.

    Returns:
        ``(rows,)``.
    """
    if draws is None:
        return logits.argmax(-1)
    logits = logits / decoding.temperature
    if 0 < decoding.top_k < logits.shape[-1]:
        least = logits.topk(decoding.top_k).values[:, -1:]
        logits = logits.masked_fill(logits < least, float("-inf"))
    if decoding.top_p < 1:
        logits = _nucleus(logits, decoding.top_p)
    # The token in whose share of [0, 1) the row's number falls. Float64: a large vocabulary has many small shares.
    edges = logits.softmax(-1).double().cumsum(-1)
    chosen = torch.searchsorted(edges, draws[:, None].double() * edges[:, -1:], right=True)
    return chosen[:, 0].clamp(max=logits.shape[-1] - 1)


def _nucleus(logits: torch.Tensor, top_p: float) -> torch.Tensor:
    """Without the least likely tokens that together have at most ``1 - top_p`` (arXiv:1904.09751)."""
    ascending, order = logits.sort(-1)
    unlikely = ascending.softmax(-1).cumsum(-1) <= 1 - top_p
    unlikely[:, -1] = False
    return logits.masked_fill(torch.zeros_like(unlikely).scatter(-1, order, unlikely), float("-inf"))
