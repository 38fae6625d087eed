"""What becomes of a thought from step to step, whichever model makes the steps.

A row that samples a closing token is fed the emb token in the next step, and the hidden state of that step is its
vector. A row whose budget is spent is closed in the same way, so a cut thought costs no more than a finished one:
one decode step after its last token. That last token itself is fed first, as every token is (it is never in the cache
when it is sampled).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from t1_vectorstore.backends.sampling import next_tokens
from t1_vectorstore.checkpoint import Decoding
from t1_vectorstore.types import StopReason, Trajectory


@dataclass
class Row:
    """One prompt on its way.

    Attributes:
        index: of the prompt in the call.
        prompt: its tokens.
        ids: the thought so far.
        draws: a random number for each token that may come; empty where decoding is greedy.
        stop: why the thought ended; set when its emb token is to be fed.
        state: ``(hidden,)`` at the emb token; set when that has been fed.
    """

    index: int
    prompt: Sequence[int]
    draws: Sequence[float]
    ids: list[int] = field(default_factory=list)
    stop: StopReason | None = None
    state: torch.Tensor | None = None

    @classmethod
    def begin(cls, index: int, prompt: Sequence[int], decoding: Decoding) -> Row:
        """A row's random numbers are its own, so that its thought does not depend on the batch it is in."""
        if decoding.temperature == 0:
            return cls(index, prompt, ())
        generator = torch.Generator().manual_seed(hash((decoding.seed, tuple(prompt))) % 2**63)
        draws = torch.rand(decoding.max_tokens + 1, generator=generator, dtype=torch.float64)
        return cls(index, prompt, draws.tolist())

    @property
    def length(self) -> int:
        """Of prompt and thought, in tokens."""
        return len(self.prompt) + len(self.ids)

    def trajectory(self) -> Trajectory:
        """What a closed row has come to."""
        assert self.stop is not None
        assert self.state is not None
        return Trajectory(self.ids, self.stop, self.state.float().cpu().numpy())


@dataclass(frozen=True)
class Chooser:
    """Chooses each row's next token, and closes the rows that are at their end.

    Attributes:
        to_logits: last hidden states -> logits over the vocabulary, both ``(rows, ...)``.
        emb_id: the emb token.
        stop_ids: the tokens that end a thought, the emb token among them.
        decoding: budget and sampling.
        deadline: ``time.monotonic()`` after which thoughts are closed as they stand.
    """

    to_logits: Callable[[torch.Tensor], torch.Tensor]
    emb_id: int
    stop_ids: frozenset[int]
    decoding: Decoding
    deadline: float | None

    def __call__(self, rows: Sequence[Row], last: torch.Tensor) -> list[int]:
        """The next token of each row; a row that ends gets the emb token."""
        if self.deadline is not None and time.monotonic() >= self.deadline:
            for row in rows:
                row.stop = "deadline"
            return [self.emb_id] * len(rows)
        draws = None
        if self.decoding.temperature > 0:
            draws = torch.tensor([row.draws[len(row.ids)] for row in rows], device=last.device)
        sampled: list[int] = next_tokens(self.to_logits(last).float(), self.decoding, draws).tolist()
        return [self._advance(row, token) for row, token in zip(rows, sampled, strict=True)]

    def _advance(self, row: Row, token: int) -> int:
        if token in self.stop_ids:
            row.stop = "emb_token" if token == self.emb_id else "end_token"
        elif len(row.ids) >= self.decoding.max_tokens:
            row.stop = "budget"
        else:
            row.ids.append(token)
            return token
        return self.emb_id
