"""What each step trains on: drawn anew from the seed and the step's number, so that a run can be continued anywhere."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from t1_vectorstore.training.batching import Batch, Encoder, make_batch
from t1_vectorstore.training.configs import Contrastive, Stage
from t1_vectorstore.training.examples import Example, TrainingData
from t1_vectorstore.types import Vectors

SKIPS = 3


class Draw:
    """Draws examples: so many of all of them, or so many of each part."""

    def __init__(
        self, examples: Sequence[Example], counts: int | Mapping[str, int], seed: int, *, what: str = "examples"
    ) -> None:
        """Group the examples by part.

        Args:
            examples: To draw from.
            counts: How many.
            seed: Of the draws.
            what: The examples are, for messages.

        Raises:
            ValueError: There is no example, or none of a part that is asked for.
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
            if unknown := sorted(set(counts) - {part for part in parts if part}):
                known = ", ".join(sorted(part for part in parts if part)) or "none"
                raise ValueError(f"the data has no part {unknown[0]!r} of {what}; its parts of them are: {known}")
            self._pools = [(parts[part], count) for part, count in counts.items()]

    def __call__(self, step: int) -> tuple[list[Example], random.Random]:
        """Return the step's examples, and the generator for its other choices."""
        rng = random.Random(f"{self._seed}/{step}")
        return [rng.choice(pool) for pool, count in self._pools for _ in range(count)], rng

    def all(self, steps: int) -> list[Example]:
        """Return each example that is drawn in any of the first steps, once."""
        return list({id(example): example for step in range(steps) for example in self(step)[0]}.values())


class Steps(torch.utils.data.Dataset[Batch]):
    """Item *i* is the batch of step *i* of one process; deterministic in the seed and *i*.

    With several processes each takes items of its own, so there are as many items as steps times processes.
    """

    def __init__(
        self,
        data: TrainingData,
        encoder: Encoder,
        stage: Stage,
        *,
        thinks: bool,
        seed: int,
        processes: int = 1,
        counts: int | Mapping[str, int] | None = None,
        teacher: Teacher | None = None,
    ) -> None:
        """Make ready to draw.

        Args:
            data: The corpus and the examples.
            encoder: Of the model's prompts.
            stage: How many of what.
            thinks: False leaves all thoughts out.
            seed: Of the run.
            processes: That train together.
            counts: In place of the stage's ``queries``.
            teacher: Whose cosines are handed through.

        Raises:
            ValueError: There is no example of a part that is asked for.
        """
        self._draw = Draw(data.examples, stage.queries if counts is None else counts, seed)
        self._texts = list(data.documents.values())
        self._numbers = {name: number for number, name in enumerate(data.documents)}
        self._encoder, self._stage, self._thinks, self._teacher = encoder, stage, thinks, teacher
        self._length = stage.steps * processes

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Batch:
        stage = self._stage
        examples, rng = self._draw(index)
        share = stage.think_share if self._thinks else 0.0
        thoughts = [example.thought if rng.random() < share else None for example in examples]
        targets = [self._numbers[rng.choice(example.positives)] for example in examples]
        numbers = dict.fromkeys(targets)
        for example in examples:
            if example.negatives and rng.random() < stage.negatives_share:
                chosen = rng.sample(example.negatives, min(stage.negatives, len(example.negatives)))
                numbers.update(dict.fromkeys(self._numbers[name] for name in chosen))
        documents = dict(zip(numbers, self._encoder.documents([self._texts[n] for n in numbers]), strict=True))
        asked = [leave_words_out(example.query, stage.word_dropout, rng) for example in examples]
        queries = self._encoder.queries(asked, thoughts)
        if stage.skip:
            queries = [replace(tokens, skips=_skips(len(tokens.ids), stage.skip, rng)) for tokens in queries]
        return make_batch(
            queries,
            targets,
            [[self._numbers[name] for name in example.positives] for example in examples],
            documents,
            at_once=stage.at_once if isinstance(stage, Contrastive) else None,
            teacher=self._teacher(examples, list(numbers)) if self._teacher else None,
        )


def leave_words_out(text: str, share: float, rng: random.Random) -> str:
    """The text without a share of its words; the whole of it where none would be left."""
    if not share:
        return text
    return " ".join(word for word in text.split() if rng.random() >= share) or text


def _skips(length: int, most: int, rng: random.Random) -> tuple[tuple[int, int], ...]:
    """Draw up to three places where positions are left out."""
    return tuple((rng.randrange(length), rng.randint(1, most)) for _ in range(rng.randint(0, SKIPS)))


class Teacher:
    """A teacher's vectors of the documents and queries that a stage meets."""

    def __init__(self, documents: Vectors, numbers: Sequence[int], queries: Vectors, texts: Sequence[str]) -> None:
        """Keep (n, dim) unit vectors of the documents with these numbers, and of the queries with these texts."""
        self._documents, self._queries = documents, queries
        self._document_rows = {number: row for row, number in enumerate(numbers)}
        self._rows = {text: row for row, text in enumerate(texts)}

    def __call__(self, examples: Sequence[Example], documents: Sequence[int]) -> torch.Tensor:
        """Cosines (Q, D) of the examples' queries and the documents with these numbers; NaN where it is not asked."""
        cosines = np.full((len(examples), len(documents)), np.nan, np.float32)
        taught = [at for at, example in enumerate(examples) if example.query in self._rows]
        queries = self._queries[[self._rows[examples[at].query] for at in taught]]
        found = self._documents[[self._document_rows[number] for number in documents]]
        cosines[taught] = queries @ found.T
        return torch.from_numpy(cosines)


def with_negatives(data: TrainingData, negatives: Mapping[str, Sequence[str]]) -> TrainingData:
    """The same data with other negatives, by query; a query that has none there keeps its own."""
    examples = tuple(
        replace(e, negatives=tuple(n for n in negatives[e.query] if n not in e.positives))
        if negatives.get(e.query)
        else e
        for e in data.examples
    )
    return TrainingData(data.documents, examples)
