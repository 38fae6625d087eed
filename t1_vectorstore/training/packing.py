"""Token sequences of queries and documents, packed end to end so that a forward pass has almost no padding."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, groupby
from typing import Any

import torch
from torch import Tensor

from t1_vectorstore.embedding.prompts import Prompt, Prompter
from t1_vectorstore.errors import TrainingFailed

log = logging.getLogger(__name__)
PAD_ID = 0
LENGTH_MULTIPLE = 4
"""Sequences are padded to a multiple of this length: fewer distinct lengths give fewer, larger attention calls."""


@dataclass(frozen=True)
class TokenSequence:
    """A sequence of token ids that ends with the emb token.

    Attributes:
        ids: Token ids.
        predict_from: Index of the first token in the language model loss; ``len(ids)`` without such tokens.
        skips: Gaps in the positions, as pairs of the index before which a gap is and its size.
    """

    ids: list[int]
    predict_from: int
    skips: tuple[tuple[int, int], ...] = ()

    def positions(self, length: int) -> list[int]:
        """Return the first ``length`` positions; padding gets positions too."""
        steps = [1] * length
        for index, count in self.skips:
            steps[index] += count
        return [position - 1 for position in accumulate(steps)]


@dataclass(frozen=True)
class PackedSequences:
    """Sequences packed end to end, T tokens in all.

    Each sequence is padded on the right to a multiple of ``LENGTH_MULTIPLE``; the causal mask keeps its real tokens
    from attending to the padding. Sequences of equal length are adjacent, so that attention runs on plain slices.

    Attributes:
        ids: Token ids (1, T).
        positions: Position of each token in its sequence (1, T).
        groups: Number of sequences and their padded length, for each run of equally long sequences, in order.
        ends: Index of each sequence's emb token (sequences,), in the order in which the sequences were passed.
        predicted: Indices of the tokens in the language model loss (N,).
        owners: Sequence of each predicted token (N,).
    """

    ids: Tensor
    positions: Tensor
    groups: tuple[tuple[int, int], ...]
    ends: Tensor
    predicted: Tensor
    owners: Tensor

    @property
    def labels(self) -> Tensor:
        """Ids of the predicted tokens (N,)."""
        return self.ids[0, self.predicted]

    def to(self, device: torch.device | str) -> PackedSequences:
        """Copy to another device."""
        tensors: dict[str, Any] = {
            name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **tensors)


def pack(sequences: Sequence[TokenSequence]) -> PackedSequences:
    """Sort sequences by padded length and pack them end to end."""
    lengths = [-(-len(sequence.ids) // LENGTH_MULTIPLE) * LENGTH_MULTIPLE for sequence in sequences]
    order = sorted(range(len(sequences)), key=lambda i: lengths[i])
    ids: list[int] = []
    positions: list[int] = []
    ends = [0] * len(sequences)
    predicted: list[tuple[int, int]] = []
    # Each sequence, its padding, and its places in the packed row.
    for i in order:
        start, tokens = len(ids), sequences[i].ids
        ids += tokens + [PAD_ID] * (lengths[i] - len(tokens))
        positions += sequences[i].positions(lengths[i])
        ends[i] = start + len(tokens) - 1
        predicted += [(start + offset, i) for offset in range(sequences[i].predict_from, len(tokens))]
    # Runs of equal length, which attention computes as rectangles.
    groups = tuple((len(list(group)), length) for length, group in groupby(lengths[i] for i in order))
    indices, owners = torch.tensor(predicted, dtype=torch.long).reshape(-1, 2).unbind(1)
    return PackedSequences(torch.tensor([ids]), torch.tensor([positions]), groups, torch.tensor(ends), indices, owners)


class PromptEncoder:
    """Encodes queries, thoughts and documents with the prompts that serving uses.

    Attributes:
        prompter: Prompts and tokenizer of the checkpoint.
    """

    def __init__(self, prompter: Prompter) -> None:
        """Create an encoder for the prompts of ``prompter``."""
        self.prompter = prompter
        self._warned: set[str] = set()

    def documents(self, texts: Sequence[str]) -> list[TokenSequence]:
        """Encode documents."""
        prompts = self.prompter.documents(texts)
        self._warn_truncated("document", prompts)
        return [TokenSequence(prompt.ids, len(prompt.ids)) for prompt in prompts]

    def queries(
        self, texts: Sequence[str], thoughts: Sequence[str | None], *, given: Sequence[bool] | None = None
    ) -> list[TokenSequence]:
        """Encode queries with their thoughts; ``None`` gives the prompt without thinking.

        Args:
            texts: Queries.
            thoughts: Thought of each query.
            given: Whether a query's thought is only read, and not in the language model loss; by default none is.

        Raises:
            TrainingFailed: A thought exceeds the model's thought budget.
        """
        thinking = self.prompter.queries(texts, think=True)
        plain = self.prompter.queries(texts, think=False)
        self._warn_truncated("query", thinking)
        sequences = []
        for row, (prompt, without, thought) in enumerate(zip(thinking, plain, thoughts, strict=True)):
            ids = without.ids if thought is None else [*prompt.ids, *self.thought(thought)]
            learned = thought is not None and not (given and given[row])
            sequences.append(TokenSequence(ids, len(prompt.ids) if learned else len(ids)))
        return sequences

    def thought(self, thought: str) -> list[int]:
        """Encode a thought and the token that closes it.

        Raises:
            TrainingFailed: The thought exceeds the model's thought budget.
        """
        ids = self.prompter.thought_ids(thought)
        budget = self.prompter.spec.decoding.max_tokens
        if len(ids) - 1 > budget:
            raise TrainingFailed(
                f"the thought {thought!r:.60} has {len(ids) - 1} tokens, more than the thought budget of {budget}: "
                "raise thought_tokens in the recipe (for an existing model, decoding.max_tokens in its "
                "t1_config.json), or shorten the thought"
            )
        return ids

    def _warn_truncated(self, role: str, prompts: Sequence[Prompt]) -> None:
        truncated = sum(prompt.dropped > 0 for prompt in prompts)
        if truncated and role not in self._warned:
            self._warned.add(role)
            log.warning(
                "some texts are longer than max_%s_tokens (%d of %d in this batch): only their beginning is trained on",
                *(role, truncated, len(prompts)),
            )
