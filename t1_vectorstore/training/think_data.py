"""Training data with the thoughts that a model itself generates: ``own_thoughts`` of the training examples.

A model learns its thoughts from right ones, and at first trusts every thought. Its own are wrong now and then. Trained
with some of them, it learns to embed a query whose thought may be wrong; see ``Stage.own_thought_share``.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from t1_vectorstore.embedding.embedder import T1Embedder
from t1_vectorstore.training.examples import TRAIN, Example, list_splits, read_corpus, read_split, write_data

log = logging.getLogger(__name__)
QUERY_BATCH = 64
GENERATED, UNCLOSED = "thoughts generated", "thoughts dropped: not closed by the model"


def build(
    source: Path,
    out: Path,
    embedder: T1Embedder,
    *,
    parts: Sequence[str] = (),
    queries: int | None = None,
    samples: int = 1,
    seed: int = 0,
) -> dict[str, int]:
    """Copy a data folder, and add thoughts of a model to its training examples.

    An interrupted run with an embedder that has a cache continues where it was.

    Args:
        source: Data folder.
        out: Folder to write. Thoughts of ``source`` that an earlier model generated are kept.
        embedder: Model that thinks.
        parts: Parts of the data to think about. Default: all queries that have a right thought.
        queries: Maximum number of queries, chosen at random.
        samples: Number of thoughts about each query; more than one needs a model with a sampling temperature.
        seed: Seed of the choice.

    Returns:
        Number of documents and examples written, as from ``write_data``; and the number of generated thoughts, and of
        those that were dropped because a limit ended them.

    Raises:
        CorpusError: The folder cannot be read, see ``read_data``.
        ValueError: The model does not think, the data has no such part or no query to think about, or ``out`` is
            ``source``.
    """
    # 1. The data, and the queries to think about.
    if out.resolve() == source.resolve():
        raise ValueError(f"{out} is the data itself: choose another folder to write")
    if not embedder.spec.thinks:
        raise ValueError(f"{embedder.identity.model} does not think: choose another model")
    documents = read_corpus(source)
    examples = read_split(source, TRAIN, documents)
    held_out = [name for name in list_splits(source) if (source / f"queries.{name}.jsonl").is_file()]
    splits = {name: read_split(source, name, documents) for name in held_out}
    if unknown := sorted(set(parts) - {example.part for example in examples}):
        raise ValueError(f"the data has no part {unknown[0]!r}")
    chosen = [e.query for e in examples if (e.part in parts if parts else e.thought is not None)]
    chosen = list(dict.fromkeys(chosen))
    if not chosen:
        raise ValueError(f"no query of {source} has a thought: choose parts of the data")
    if queries is not None and queries < len(chosen):
        chosen = random.Random(f"think/{seed}").sample(chosen, queries)

    # 2. The thoughts.
    thoughts: dict[str, list[str]] = {}
    generated = unclosed = 0
    for start in range(0, len(chosen), QUERY_BATCH):
        log.info("thinking about queries: %d of %d", start, len(chosen))
        batch = chosen[start : start + QUERY_BATCH]
        for query, embedded in zip(batch, embedder.embed_queries(batch, think=True, samples=samples), strict=True):
            closed = [thought.text for thought in embedded.thoughts if not thought.cut]
            generated, unclosed = generated + len(embedded.thoughts), unclosed + len(embedded.thoughts) - len(closed)
            thoughts[query] = closed

    # 3. The data with these thoughts.
    splits[TRAIN] = [_with_thoughts(example, thoughts.get(example.query, ())) for example in examples]
    return write_data(out, documents, splits) | {GENERATED: generated, UNCLOSED: unclosed}


def _with_thoughts(example: Example, thoughts: Sequence[str]) -> Example:
    """Add distinct thoughts. One that equals the right thought is kept, too: it is what the model thinks."""
    return replace(example, own_thoughts=tuple(dict.fromkeys((*example.own_thoughts, *thoughts))))
