"""From examples to tensors: token sequences, packed so that little of a pass is padding."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby

import torch
from torch import Tensor

from t1_vectorstore.embedding.prompts import Prompt, Prompter
from t1_vectorstore.errors import TrainingFailed

log = logging.getLogger(__name__)
PAD_ID = 0
MULTIPLE = 4  # fewer distinct lengths make fewer, larger attention calls


@dataclass(frozen=True)
class Tokens:
    """One sequence of token ids that ends in the emb token.

    Attributes:
        ids: The token ids.
        predict_from: Index of the first token that the language model loss is on; ``len(ids)`` if none.
        skips: Positions that are left out, as pairs of the index before which and how many.
    """

    ids: list[int]
    predict_from: int
    skips: tuple[tuple[int, int], ...] = ()

    def positions(self, length: int) -> list[int]:
        """The first ``length`` positions; more than there are tokens, if some are padding."""
        steps = [1] * length
        for index, count in self.skips:
            steps[index] += count
        return [position - 1 for position in accumulate(steps)]


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

    @property
    def labels(self) -> Tensor:
        """(N,) the tokens that are predicted."""
        return self.ids[0, self.predicted]

    def to(self, device: torch.device | str) -> Packed:
        """The same on another device."""
        moved = (self.ids.to(device), self.positions.to(device), self.groups, self.ends.to(device))
        return Packed(*moved, self.predicted.to(device), self.owners.to(device))


class Encoder:
    """Turns texts into sequences, by the prompts that serving uses."""

    def __init__(self, prompter: Prompter) -> None:
        """Use the prompts of ``prompter``."""
        self.prompter = prompter
        self._told: set[str] = set()

    def documents(self, texts: Sequence[str]) -> list[Tokens]:
        """Encode documents."""
        prompts = self.prompter.documents(texts)
        self._tell_cut("document", prompts)
        return [Tokens(prompt.ids, len(prompt.ids)) for prompt in prompts]

    def queries(self, texts: Sequence[str], thoughts: Sequence[str | None]) -> list[Tokens]:
        """Encode queries, each with its thought if there is one.

        Raises:
            TrainingFailed: A thought is longer than the specification lets the model think.
        """
        thinking = self.prompter.queries(texts, think=True)
        closed = self.prompter.queries(texts, think=False)
        self._tell_cut("query", thinking)
        sequences = []
        for before, whole, thought in zip(thinking, closed, thoughts, strict=True):
            if thought is None:
                sequences.append(Tokens(whole.ids, len(whole.ids)))
            else:
                sequences.append(Tokens([*before.ids, *self.thought(thought)], len(before.ids)))
        return sequences

    def thought(self, thought: str) -> list[int]:
        """Encode a thought and the token that closes it.

        Raises:
            TrainingFailed: It is longer than the specification lets the model think.
        """
        ids = self.prompter.thought_ids(thought)
        budget = self.prompter.spec.decoding.max_tokens
        if len(ids) - 1 > budget:
            raise TrainingFailed(
                f"the thought {thought!r:.60} has {len(ids) - 1} tokens, and the model may think {budget}: raise "
                "thought_tokens in the recipe (for a model that exists, decoding.max_tokens in its t1_config.json), or "
                "shorten the thought"
            )
        return ids

    def _tell_cut(self, what: str, prompts: Sequence[Prompt]) -> None:
        cut = sum(prompt.dropped > 0 for prompt in prompts)
        if cut and what not in self._told:
            self._told.add(what)
            log.warning("some texts are longer than max_%s_tokens, as %d of %d here: only their beginning is "
                        "trained on", what, cut, len(prompts))  # fmt: skip


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
        positions += sequences[i].positions(lengths[i])
        ends[i] = start + len(tokens) - 1
        predicted += [(start + offset, i) for offset in range(sequences[i].predict_from, len(tokens))]
    groups = tuple((len(list(group)), length) for length, group in groupby(lengths[i] for i in order))
    where, owners = torch.tensor(predicted, dtype=torch.long).reshape(-1, 2).unbind(1)
    return Packed(torch.tensor([ids]), torch.tensor([positions]), groups, torch.tensor(ends), where, owners)


@dataclass(frozen=True)
class Batch:
    """One step of one process.

    Attributes:
        passes: The sequences, queries first and then documents, in the packs that one forward pass takes each.
        queries: How many of the sequences are queries.
        positives: (Q,) the row of each query's right document among the documents.
        documents: (D,) number of each document in the corpus, by which other processes know it.
        relevant: (Q, P) the numbers of all right documents of each query, filled up with -1.
        teacher: (Q, D) the teacher's cosines, if there is one.
    """

    passes: tuple[Packed, ...]
    queries: int
    positives: Tensor
    documents: Tensor
    relevant: Tensor
    teacher: Tensor | None = None

    def to(self, device: torch.device | str, **_: object) -> Batch:
        """The same on another device."""
        return Batch(
            tuple(packed.to(device) for packed in self.passes),
            self.queries,
            self.positives.to(device),
            self.documents.to(device),
            self.relevant.to(device),
            None if self.teacher is None else self.teacher.to(device),
        )


def make_batch(
    queries: Sequence[Tokens],
    targets: Sequence[int],
    relevant: Sequence[Sequence[int]],
    documents: Mapping[int, Tokens],
    *,
    at_once: int | None = None,
    teacher: Tensor | None = None,
) -> Batch:
    """Lay out one step.

    Args:
        queries: The encoded queries.
        targets: The number of the document that each query is to find.
        relevant: The numbers of all right documents of each query.
        documents: The encoded documents by number, each query's target among them; the others are negatives.
        at_once: Sequences of a forward pass; all by default.
        teacher: (Q, D) a teacher's cosines.
    """
    rows = {number: row for row, number in enumerate(documents)}
    sequences = [*queries, *documents.values()]
    at_once = at_once or len(sequences)
    widest = max(len(numbers) for numbers in relevant)
    return Batch(
        tuple(pack(sequences[start : start + at_once]) for start in range(0, len(sequences), at_once)),
        len(queries),
        torch.tensor([rows[number] for number in targets]),
        torch.tensor(list(documents)),
        torch.tensor([[*numbers, *[-1] * (widest - len(numbers))] for numbers in relevant]),
        teacher,
    )
