"""The batch of each training step, a function of the seed and the step number: a run can continue at any step."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from t1_vectorstore.training.configs import Contrastive, Stage
from t1_vectorstore.training.examples import Example, TrainingData
from t1_vectorstore.training.packing import PackedSequences, PromptEncoder, TokenSequence, pack
from t1_vectorstore.types import Vectors

MAX_SKIPS = 3
"""Largest number of position gaps in a sequence."""


class ExampleSampler:
    """Samples a number of examples for each step, from all examples or from each part of the data."""

    def __init__(
        self, examples: Sequence[Example], counts: int | Mapping[str, int], seed: int, *, what: str = "examples"
    ) -> None:
        """Group the examples by part; ``counts`` is the number per step, in total or for each part.

        Raises:
            ValueError: There are no examples, called ``what`` in the message, or none of a part in ``counts``.
        """
        self._seed = seed
        parts: dict[str | None, list[Example]] = defaultdict(list)
        for example in examples:
            parts[example.part].append(example)
        if not examples:
            raise ValueError(f"the data has no {what}")
        if isinstance(counts, int):
            self._pools = [(list(examples), counts)]
        else:
            known = sorted(part for part in parts if part)
            if unknown := sorted(set(counts) - set(known)):
                names = ", ".join(known) or "none"
                raise ValueError(f"the data has no part {unknown[0]!r} of {what}; the parts are: {names}")
            self._pools = [(parts[part], count) for part, count in counts.items()]

    def __call__(self, step: int) -> tuple[list[Example], random.Random]:
        """Return a step's examples, and the random generator for the step's other choices."""
        rng = random.Random(f"{self._seed}/{step}")
        return [rng.choice(pool) for pool, count in self._pools for _ in range(count)], rng

    def distinct(self, steps: int) -> list[Example]:
        """Return every example of the first ``steps`` steps once."""
        return list({id(example): example for step in range(steps) for example in self(step)[0]}.values())


@dataclass(frozen=True)
class TrainingBatch:
    """One training step of one process: Q queries and D documents.

    Attributes:
        passes: Queries, documents, and further texts; each item is packed for one forward pass.
        queries: Number of queries, Q.
        positives: Index of each query's positive among the documents (Q,).
        documents: Number of each document in the corpus (D,), the same in all processes.
        relevant: Corpus numbers of all relevant documents of each query (Q, P), padded with -1.
        teacher: Teacher's cosines (Q, D).
        teacher_vectors: Teacher's vectors (Q + D + T, teacher's dim) of queries, documents, and T further texts, which
            are the last sequences.
    """

    passes: tuple[PackedSequences, ...]
    queries: int
    positives: Tensor
    documents: Tensor
    relevant: Tensor
    teacher: Tensor | None = None
    teacher_vectors: Tensor | None = None

    def to(self, device: torch.device | str, **_: object) -> TrainingBatch:
        """Copy to another device."""
        tensors: dict[str, Any] = {
            name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, passes=tuple(packed.to(device) for packed in self.passes), **tensors)


def make_batch(
    queries: Sequence[TokenSequence],
    targets: Sequence[int],
    relevant: Sequence[Sequence[int]],
    documents: Mapping[int, TokenSequence],
    *,
    texts: Sequence[TokenSequence] = (),
    pass_size: int | None = None,
    teacher: Tensor | None = None,
    teacher_vectors: Tensor | None = None,
) -> TrainingBatch:
    """Assemble a batch.

    Args:
        queries: Encoded queries.
        targets: Corpus number of each query's positive.
        relevant: Corpus numbers of all relevant documents of each query.
        documents: Encoded documents by corpus number: every target, and further negatives.
        texts: Further texts that a teacher teaches, encoded as documents.
        pass_size: Number of sequences per forward pass; all by default.
        teacher: Teacher's cosines (Q, D).
        teacher_vectors: Teacher's vectors of all sequences.
    """
    rows = {number: row for row, number in enumerate(documents)}
    sequences = [*queries, *documents.values(), *texts]
    pass_size = pass_size or len(sequences)
    width = max(len(numbers) for numbers in relevant)
    return TrainingBatch(
        tuple(pack(sequences[start : start + pass_size]) for start in range(0, len(sequences), pass_size)),
        len(queries),
        torch.tensor([rows[number] for number in targets]),
        torch.tensor(list(documents)),
        torch.tensor([[*numbers, *[-1] * (width - len(numbers))] for numbers in relevant]),
        teacher,
        teacher_vectors,
    )


class TeacherScores:
    """A teacher's embeddings of the documents and queries of a stage."""

    def __init__(self, documents: Vectors, numbers: Sequence[int], queries: Vectors, texts: Sequence[str]) -> None:
        """Store unit vectors (n, dim) of the documents with these corpus numbers and the queries with these texts."""
        self._documents, self._queries = documents, queries
        self._document_rows = {number: row for row, number in enumerate(numbers)}
        self._query_rows = {text: row for row, text in enumerate(texts)}

    def __call__(self, examples: Sequence[Example], documents: Sequence[int]) -> Tensor:
        """Return the cosines (Q, D) of queries and documents; the rows of queries that the teacher skips are NaN."""
        cosines = np.full((len(examples), len(documents)), np.nan, np.float32)
        taught = [row for row, example in enumerate(examples) if example.query in self._query_rows]
        queries = self._queries[[self._query_rows[examples[row].query] for row in taught]]
        cosines[taught] = queries @ self._documents[[self._document_rows[number] for number in documents]].T
        return torch.from_numpy(cosines)


class TeacherVectors:
    """A teacher's vectors of texts."""

    def __init__(self, vectors: Vectors, texts: Sequence[str]) -> None:
        """Store unit vectors (n, dim) of these texts."""
        self._vectors = vectors
        self._rows = {text: row for row, text in enumerate(texts)}

    def __contains__(self, text: str) -> bool:
        return text in self._rows

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return the vectors (n, dim) of some of the texts."""
        return torch.from_numpy(self._vectors[[self._rows[text] for text in texts]])


class TextSampler:
    """Samples documents of the corpus for each step: all of them once, then all again in another order."""

    def __init__(self, documents: Sequence[str], counts: int | Mapping[str, int], seed: int) -> None:
        """Sample numbers of the documents with these ids.

        Args:
            documents: Ids of the corpus, in order.
            counts: Number of documents at a time, in total or for each source: the part of an id before the first
                slash.
            seed: Seed of the order.

        Raises:
            ValueError: There are no documents of a source in ``counts``.
        """
        self._seed = seed
        self._pools: dict[str, tuple[Sequence[int], int]] = {}
        for source, count in ({"": counts} if isinstance(counts, int) else counts).items():
            numbers = [row for row, name in enumerate(documents) if not source or name.startswith(f"{source}/")]
            if not numbers and count:
                raise ValueError(f"texts has {source!r}, but no document's id starts with {source + '/'!r}")
            self._pools[source] = numbers, min(count, len(numbers))
        self._orders: dict[tuple[str, int], list[int]] = {}

    def __call__(self, step: int) -> list[int]:
        """Return the document numbers of a step."""
        return [
            self._order(source, epoch)[row]
            for source, (numbers, count) in self._pools.items()
            for epoch, row in (divmod(step * count + each, len(numbers)) for each in range(count))
        ]

    def distinct(self, steps: int) -> list[int]:
        """Return every number of the first ``steps`` steps once."""
        return list(dict.fromkeys(number for step in range(steps) for number in self(step)))

    def _order(self, source: str, epoch: int) -> list[int]:
        if (source, epoch) not in self._orders:
            numbers, _ = self._pools[source]
            rng = random.Random(f"{self._seed}/texts/{source and source + '/'}{epoch}")
            self._orders[source, epoch] = rng.sample(numbers, len(numbers))
        return self._orders[source, epoch]


class TrainingBatches(torch.utils.data.Dataset[TrainingBatch]):
    """The batches of a stage. Item *i* depends on the seed and *i* only.

    Each process trains on items of its own, so there are ``steps * processes`` items.
    """

    def __init__(
        self,
        data: TrainingData,
        encoder: PromptEncoder,
        stage: Stage,
        *,
        thinks: bool,
        seed: int,
        processes: int = 1,
        counts: int | Mapping[str, int] | None = None,
        teacher: TeacherScores | None = None,
        distilled: TeacherVectors | None = None,
        texts: TextSampler | None = None,
    ) -> None:
        """Prepare the sampler. ``thinks=False`` leaves out all thoughts; ``counts`` replaces the stage's ``queries``.

        ``distilled`` has the vectors of all queries and documents that the stage uses, among them those of ``texts``.

        Raises:
            ValueError: There are no examples of a part in ``counts``.
        """
        self._sample = ExampleSampler(data.examples, stage.queries if counts is None else counts, seed)
        self._texts = list(data.documents.values())
        self._numbers = {name: number for number, name in enumerate(data.documents)}
        self._relevant = {
            query: sorted(self._numbers[name] for name in names) for query, names in data.relevant_by_query().items()
        }
        self._encoder, self._stage, self._thinks, self._teacher = encoder, stage, thinks, teacher
        self._distilled, self._sample_texts = distilled, texts
        self._length = stage.steps * processes

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> TrainingBatch:
        # The order of the random choices is fixed: another order would change every trained model.
        stage = self._stage
        examples, rng = self._sample(index)
        # 1. Which queries think, and which of their relevant documents is the positive.
        share = stage.think_share if self._thinks else 0.0
        thinks = [rng.random() < share for _ in examples]
        thoughts: list[str | None] = []
        own: list[bool] = []
        for example, think in zip(examples, thinks, strict=True):
            own.append(think and stage.own_thought_share > 0 and rng.random() < stage.own_thought_share)
            if own[-1]:
                thoughts.append(rng.choice(example.own_thoughts) if example.own_thoughts else None)
            else:
                thoughts.append(example.thought if think else None)
        targets = [self._numbers[rng.choice(example.positives)] for example in examples]
        # 2. The documents: every positive, and hard negatives of some queries.
        numbers = dict.fromkeys(targets)
        for example in examples:
            if example.negatives and rng.random() < stage.negatives_share:
                chosen = rng.sample(example.negatives, min(stage.negatives, len(example.negatives)))
                numbers.update(dict.fromkeys(self._numbers[name] for name in chosen))
        documents = dict(zip(numbers, self._encoder.documents([self._texts[n] for n in numbers]), strict=True))
        # 3. The thinking queries once more, without their thought.
        if stage.also_without_thought:
            again = [row for row, thought in enumerate(thoughts) if thought is not None]
            examples = [*examples, *(examples[row] for row in again)]
            targets = [*targets, *(targets[row] for row in again)]
            thoughts = [*thoughts, *(None for _ in again)]
            own = [*own, *(False for _ in again)]
        # 4. The queries, with word dropout and position gaps.
        texts = [drop_words(example.query, stage.word_dropout, rng) for example in examples]
        queries = self._encoder.queries(texts, thoughts, given=own)
        if stage.skip:
            queries = [replace(query, skips=_position_gaps(len(query.ids), stage.skip, rng)) for query in queries]
        # 5. Further texts, and the teacher's vectors or cosines of all.
        extra = [n for n in self._sample_texts(index) if n not in numbers] if self._sample_texts else []
        return make_batch(
            queries,
            targets,
            [self._relevant[example.query] for example in examples],
            documents,
            texts=self._encoder.documents([self._texts[n] for n in extra]),
            pass_size=stage.at_once if isinstance(stage, Contrastive) else None,
            teacher=self._teacher(examples, list(numbers)) if self._teacher else None,
            teacher_vectors=self._teacher_vectors(examples, targets, [*numbers, *extra]) if self._distilled else None,
        )

    def fitting_batch(self, size: int, count: int) -> tuple[list[PackedSequences], Tensor]:
        """Return documents with the teacher's vectors (count, dim), to fit an alignment to an untrained model.

        Args:
            size: Number of documents in a pass.
            count: Maximum number of documents.
        """
        assert self._distilled is not None
        texts = [text for text in self._texts if text in self._distilled]
        texts = random.Random("fit").sample(texts, min(count, len(texts)))
        parts = (texts[start : start + size] for start in range(0, len(texts), size))
        return [pack(self._encoder.documents(part)) for part in parts], self._distilled(texts)

    def _teacher_vectors(
        self, examples: Sequence[Example], positives: Sequence[int], documents: Sequence[int]
    ) -> Tensor:
        """Return the teacher's vectors that queries and documents are to have.

        A query's is between its own and its document's: a teacher's vector of the query alone knows nothing of what the
        query is to find.
        """
        assert self._distilled is not None
        queries = self._distilled([example.query for example in examples])
        own = self._distilled([self._texts[number] for number in positives])
        return torch.cat([(queries + own) / 2, self._distilled([self._texts[number] for number in documents])])


def drop_words(text: str, share: float, rng: random.Random) -> str:
    """Leave out a random share of the words of a text. Return the whole text if no word would be left."""
    if not share:
        return text
    return " ".join(word for word in text.split() if rng.random() >= share) or text


def _position_gaps(length: int, max_size: int, rng: random.Random) -> tuple[tuple[int, int], ...]:
    return tuple((rng.randrange(length), rng.randint(1, max_size)) for _ in range(rng.randint(0, MAX_SKIPS)))
