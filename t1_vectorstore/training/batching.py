"""From examples to tensors: token sequences, packed so that little of a pass is padding."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from t1_vectorstore.demo.chains import Example
from t1_vectorstore.prompts import Prompter

PAD_ID = 0
MULTIPLE = 4  # fewer distinct lengths make fewer, larger attention calls


@dataclass(frozen=True)
class Tokens:
    """One sequence of token ids that ends in the emb token.

    Attributes:
        ids: The token ids.
        predict_from: Index of the first token that the language model loss is on; ``len(ids)`` if none.
    """

    ids: list[int]
    predict_from: int


@dataclass(frozen=True)
class Packed:
    """Sequences laid end to end, so that almost nothing of a pass is padding.

    Each is padded on the right to the next multiple of ``MULTIPLE``, where a causal mask keeps the padding from every
    real token, and those of one length lie side by side, so that attention runs on plain slices.

    Attributes:
        ids: (1, T) token ids.
        positions: (1, T) position of each token in its sequence.
        groups: (rows, length) of each run of equally long sequences, in order.
        ends: (sequences,) where the emb token of each sequence is, in the order the sequences were given.
        predicted: (N,) where the tokens are that the language model loss is on.
        owners: (N,) the sequence each of them belongs to.
    """

    ids: Tensor
    positions: Tensor
    groups: tuple[tuple[int, int], ...]
    ends: Tensor
    predicted: Tensor
    owners: Tensor


@dataclass(frozen=True)
class Batch:
    """One step: query sequences, the distinct documents they are ranked against, and each query's right document."""

    queries: list[Tokens]
    documents: list[Tokens]
    positives: Tensor


class Encoder:
    """Turns texts into sequences, by the prompts that serving uses."""

    def __init__(self, prompter: Prompter) -> None:
        """Use the prompts of ``prompter``."""
        self._prompter = prompter

    def documents(self, texts: Sequence[str]) -> list[Tokens]:
        """Encode documents."""
        return [Tokens(prompt.ids, len(prompt.ids)) for prompt in self._prompter.documents(texts)]

    def queries(self, texts: Sequence[str], thoughts: Sequence[str | None]) -> list[Tokens]:
        """Encode queries, each with its thought if there is one."""
        thinking = self._prompter.queries(texts, think=True)
        closed = self._prompter.queries(texts, think=False)
        sequences = []
        for before, whole, thought in zip(thinking, closed, thoughts, strict=True):
            if thought is None:
                sequences.append(Tokens(whole.ids, len(whole.ids)))
            else:
                sequences.append(Tokens([*before.ids, *self._prompter.thought_ids(thought)], len(before.ids)))
        return sequences


def make_batch(
    examples: Sequence[Example],
    documents: Mapping[str, Tokens],
    encoder: Encoder,
    think_share: float,
    trap_share: float,
    rng: random.Random,
) -> Batch:
    """Choose which queries think and which traps join the in-batch negatives, and encode.

    Args:
        examples: The queries of the step.
        documents: Id to encoded document, of the whole corpus.
        encoder: Of the queries.
        think_share: Probability that a query has its thought.
        trap_share: Probability that one of a query's negatives is added.
        rng: Makes the choices.
    """
    thoughts = [example.thought if rng.random() < think_share else None for example in examples]
    queries = encoder.queries([example.query for example in examples], thoughts)
    ids = {example.positive: None for example in examples}
    for example in examples:
        if example.negatives and rng.random() < trap_share:
            ids[rng.choice(example.negatives)] = None
    rows = {identifier: row for row, identifier in enumerate(ids)}
    positives = torch.tensor([rows[example.positive] for example in examples])
    return Batch(queries, [documents[identifier] for identifier in ids], positives)


def pack(sequences: Sequence[Tokens]) -> Packed:
    """Sort sequences by length and lay them end to end."""
    lengths = [-(-len(sequence.ids) // MULTIPLE) * MULTIPLE for sequence in sequences]
    order = sorted(range(len(sequences)), key=lambda i: lengths[i])
    ids: list[int] = []
    positions: list[int] = []
    ends = [0] * len(sequences)
    predicted: list[tuple[int, int]] = []
    for i in order:
        start, tokens = len(ids), sequences[i].ids
        ids += tokens + [PAD_ID] * (lengths[i] - len(tokens))
        positions += range(lengths[i])
        ends[i] = start + len(tokens) - 1
        predicted += [(start + offset, i) for offset in range(sequences[i].predict_from, len(tokens))]
    groups = tuple((len(list(group)), length) for length, group in groupby(lengths[i] for i in order))
    where, owners = torch.tensor(predicted, dtype=torch.long).reshape(-1, 2).unbind(1)
    return Packed(torch.tensor([ids]), torch.tensor([positions]), groups, torch.tensor(ends), where, owners)
