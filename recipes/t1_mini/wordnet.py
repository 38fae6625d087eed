"""Words in use and their definitions, from Open English WordNet (CC-BY 4.0 and the Princeton WordNet licence).

A query is a word and a sentence that uses it; its relevant document is the definition of the word in that sentence. The
thought is empty: a small model that had to state what the word is a kind of found half as much as without a thought
(see ``LOG.md``). These chains are available too: "the animal is a kind of organism, a kind of living thing". So are
definitions, which only a model that was trained on much English can know.

Attribution: Open English WordNet, https://github.com/globalwordnet/english-wordnet; Princeton WordNet, (c) Princeton
University.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from t1_vectorstore.errors import CorpusError
from t1_vectorstore.training.examples import Example, write_data

ThoughtKind = Literal["empty", "chain", "definition"]
MAX_STEPS = 3
WORD = "word"
"""Part of the examples whose query is a word alone."""


@dataclass(frozen=True)
class Synset:
    """A meaning: words, definition, sentences that use it, and the id of the hypernym (what it is a kind of)."""

    id: str
    lemmas: tuple[str, ...]
    definition: str
    examples: tuple[str, ...]
    hypernym: str | None


def build(
    source: Path,
    out: Path,
    *,
    thoughts: ThoughtKind = "empty",
    candidates: int = 4000,
    queries: int = 500,
    sentences: int | None = None,
    seed: int = 0,
) -> dict[str, int]:
    """Write training data, and in ``out/unseen`` a benchmark with definitions that no training example has.

    Args:
        source: Path of ``synsets.jsonl.gz``.
        out: Folder to write. Its split ``dev`` has trained definitions, and sentences that are not trained.
        thoughts: Kind of thoughts.
        candidates: Number of definitions in the unseen benchmark, whose split is also named ``dev``.
        queries: Number of queries in each of the two splits.
        sentences: Maximum number of sentences among the training examples, chosen at random. Default: all.
        seed: Random seed.

    Returns:
        Number of documents and examples written, as from ``write_data``, for ``out`` and for ``unseen``.

    Raises:
        CorpusError: The file is missing, malformed or too small; the message names the line.
        ValueError: ``thoughts`` is not a kind of thoughts.
    """
    kinds = get_args(ThoughtKind)
    if thoughts not in kinds:
        raise ValueError(f"thoughts must be one of {', '.join(kinds)}, got {thoughts!r}")
    synsets = read_synsets(source)
    with_examples = [synset for synset in synsets.values() if synset.examples]
    if len(with_examples) < 2 * queries or len(synsets) < 2 * candidates:
        raise CorpusError(
            f"{source} has {len(with_examples)} meanings with examples: use the complete file, or fewer queries and "
            "candidates"
        )

    # 1. Hold out the definitions of the unseen benchmark.
    rng = random.Random(f"wordnet/{seed}")
    held_out = rng.sample(with_examples, queries)
    others = [synset for synset in synsets.values() if synset not in set(held_out)]
    unseen = {s.id: s for s in [*held_out, *rng.sample(others, candidates - queries)]}

    # 2. Everything else is training data; some sentences of trained definitions are held out too.
    rng = random.Random(f"wordnet/{seed}/examples")
    train: list[Example] = []
    dev: list[Example] = []
    for synset in synsets.values():
        if synset.id in unseen:
            continue
        thought = _thought(synsets, synset, thoughts)
        examples = [_usage_example(synset, sentence, thought, rng) for sentence in synset.examples]
        if len(examples) > 1 and len(dev) < queries:
            dev.append(examples.pop())
        # The word alone, as users also ask.
        train += [*examples, Example(synset.lemmas[0], thought, (synset.id,), (), WORD)]
    uses = [example for example in train if example.part != WORD]
    if sentences is not None and sentences < len(uses):
        kept = set(map(id, random.Random(f"wordnet/{seed}/sentences").sample(uses, sentences)))
        train = [example for example in train if example.part == WORD or id(example) in kept]
    documents = {synset.id: synset.definition for synset in synsets.values() if synset.id not in unseen}
    counts = write_data(out, documents, {"train": train, "dev": dev})

    # 3. The unseen benchmark.
    new = [_usage_example(s, s.examples[0], _thought(synsets, s, thoughts), rng) for s in held_out]
    unseen_counts = write_data(out / "unseen", {s.id: s.definition for s in unseen.values()}, {"dev": new})
    return counts | {f"unseen {name}": count for name, count in unseen_counts.items()}


def read_synsets(source: Path) -> dict[str, Synset]:
    """Read all meanings, by id; the errors are those of ``build``."""
    if not source.is_file():
        raise CorpusError(f"{source} is missing: pass synsets.jsonl.gz, made from Open English WordNet")
    synsets = {}
    with gzip.open(source, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                hypernym = row.get("relations", {}).get("hypernym", [None])[0]
                examples = tuple(text for text in row.get("examples", ()) if isinstance(text, str) and text.strip())
                synset = Synset(row["id"], tuple(row["lemmas"]), "; ".join(row["definition"]), examples, hypernym)
            except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
                raise CorpusError(f"{source}:{number}: not a synset: {type(error).__name__} {error}") from None
            if synset.definition.strip() and synset.lemmas:
                synsets[synset.id] = synset
    return synsets


def _thought(synsets: Mapping[str, Synset], synset: Synset, kind: ThoughtKind) -> str | None:
    if kind == "chain":
        return chain(synsets, synset)
    return synset.definition if kind == "definition" else ""


def chain(synsets: Mapping[str, Synset], synset: Synset) -> str | None:
    """Return what a meaning is a kind of, in up to three steps; ``None`` at the top of the hierarchy."""
    names: list[str] = []
    hypernym = synsets.get(synset.hypernym or "")
    while hypernym is not None and len(names) < MAX_STEPS:
        names.append(hypernym.lemmas[0])
        hypernym = synsets.get(hypernym.hypernym or "")
    return f"{synset.lemmas[0]} is a kind of {', a kind of '.join(names)}".lower() if names else None


def _usage_example(synset: Synset, sentence: str, thought: str | None, rng: random.Random) -> Example:
    word = _word_in(synset.lemmas, sentence) or rng.choice(synset.lemmas)
    return Example(f"{word}: {sentence}", thought, (synset.id,), (), "use")


def _word_in(lemmas: Sequence[str], sentence: str) -> str | None:
    lowered = sentence.casefold()
    return next((lemma for lemma in lemmas if lemma.casefold() in lowered), None)
