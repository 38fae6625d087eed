"""Generating thoughts, with the vector out of the generation's own cache.

A row that samples a closing token is fed the emb token in the next step, and the hidden state of that step is its
vector. A row whose budget is spent is closed in the same way, so a cut thought costs no more than a finished one:
one decode step after its last token. That last token itself is fed first, as every token is (it is never in the cache
when it is sampled).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from transformers import DynamicCache, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from t1_vectorstore.checkpoint import Decoding
from t1_vectorstore.types import StopReason, Trajectory


@dataclass
class _Row:
    """One prompt on its way."""

    index: int
    generator: torch.Generator | None
    ids: list[int] = field(default_factory=list)
    stop: StopReason | None = None
    state: torch.Tensor | None = None


class ThoughtLoop:
    """Decodes one left-padded batch of prompts."""

    def __init__(
        self,
        forward: Callable[..., tuple[torch.Tensor, torch.Tensor]],
        to_logits: Callable[[torch.Tensor], torch.Tensor],
        *,
        emb_id: int,
        stop_ids: Sequence[int],
        device: torch.device,
    ) -> None:
        """Take the model apart into what a step needs.

        Args:
            forward: inputs of a decoder -> states to pool and last states, each ``(rows, tokens, hidden)``.
            to_logits: last states -> logits over the vocabulary.
            emb_id: the emb token.
            stop_ids: the tokens that end a thought, the emb token among them.
            device: where the model is.
        """
        self._forward = forward
        self._to_logits = to_logits
        self._emb_id = emb_id
        self._stop_ids = frozenset(stop_ids)
        self._device = device

    def run(self, prompts: Sequence[Sequence[int]], decoding: Decoding, deadline: float | None) -> list[Trajectory]:
        """Think about each prompt.

        Args:
            prompts: token ids.
            decoding: budget and sampling.
            deadline: ``time.monotonic()`` after which thoughts are closed as they stand.
        """
        rows = [_Row(index, _generator(decoding, prompt)) for index, prompt in enumerate(prompts)]
        width = max(map(len, prompts))
        pads = [width - len(prompt) for prompt in prompts]
        tokens = torch.tensor([[0] * pad + list(ids) for pad, ids in zip(pads, prompts, strict=True)])
        mask = torch.tensor([[0] * pad + [1] * (width - pad) for pad in pads])
        tokens, mask = tokens.to(self._device), mask.to(self._device)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        cache = DynamicCache()
        alive = rows
        while alive:
            states, last = self._forward(tokens, mask, positions, cache)
            for row, state in zip(alive, states[:, -1], strict=True):
                if row.stop is not None:  # this step fed its emb token
                    row.state = state
            going = [at for at, row in enumerate(alive) if row.state is None]
            if len(going) < len(alive):
                keep = torch.tensor(going, device=self._device, dtype=torch.long)
                cache.batch_select_indices(keep)
                alive, mask, positions, last = [alive[at] for at in going], mask[keep], positions[keep], last[keep]
            if alive:
                chosen = self._choose(alive, last[:, -1], decoding, deadline)
                tokens = torch.tensor(chosen, device=self._device)[:, None]
                mask = torch.cat([mask, mask.new_ones(len(alive), 1)], dim=1)
                positions = positions[:, -1:] + 1
        return [_trajectory(row) for row in rows]

    def _choose(
        self, rows: Sequence[_Row], last: torch.Tensor, decoding: Decoding, deadline: float | None
    ) -> list[int]:
        """The next token of each row; a row that ends gets the emb token."""
        late = deadline is not None and time.monotonic() >= deadline
        sampled = [self._emb_id] * len(rows) if late else _sample(self._to_logits(last).float(), rows, decoding)
        for at, (row, token) in enumerate(zip(rows, sampled, strict=True)):
            if late:
                row.stop = "deadline"
            elif token in self._stop_ids:
                row.stop = "emb_token" if token == self._emb_id else "end_token"
            elif len(row.ids) >= decoding.max_tokens:
                row.stop = "budget"
            else:
                row.ids.append(token)
                continue
            sampled[at] = self._emb_id
        return sampled


def _sample(logits: torch.Tensor, rows: Sequence[_Row], decoding: Decoding) -> list[int]:
    if decoding.temperature == 0:
        return cast(list[int], logits.argmax(-1).tolist())
    no_ids = cast(Any, None)  # none of these warpers looks at the tokens so far
    logits = TemperatureLogitsWarper(decoding.temperature)(no_ids, logits)
    if decoding.top_k:
        logits = TopKLogitsWarper(decoding.top_k)(no_ids, logits)
    if decoding.top_p < 1:
        logits = TopPLogitsWarper(decoding.top_p)(no_ids, logits)
    probabilities = logits.softmax(-1).cpu()
    return [int(torch.multinomial(p, 1, generator=row.generator)) for p, row in zip(probabilities, rows, strict=True)]


def _generator(decoding: Decoding, prompt: Sequence[int]) -> torch.Generator | None:
    """Random numbers of a row's own, so that its thought does not depend on the batch it is in."""
    if decoding.temperature == 0:
        return None
    return torch.Generator().manual_seed(hash((decoding.seed, tuple(prompt))) % 2**63)


def _trajectory(row: _Row) -> Trajectory:
    assert row.stop is not None
    assert row.state is not None
    return Trajectory(row.ids, row.stop, row.state.float().cpu().numpy())
