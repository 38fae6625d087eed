"""Words in use and their definitions, from Open English WordNet (CC-BY 4.0 and the Princeton WordNet licence).

A query is a word and a sentence with it, the right document the definition of what it means there. The thought is
closed at once: a small model that had to say what the word is a kind of found half as much as without (``LOG.md``).
Those chains can be had: "the animal is a kind of organism, a kind of living thing".
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

Thoughts = Literal["empty", "chain"]
CANDIDATES = 4000
MOST_STEPS = 3


@dataclass(frozen=True)
class Synset:
    """One meaning: its words, its definition, sentences with it, and the meaning it is a kind of."""

    id: str
    lemmas: tuple[str, ...]
    definition: str
    examples: tuple[str, ...]
    above: str | None


def build(
    source: Path,
    out: Path,
    *,
    thoughts: Thoughts = "empty",
    candidates: int = CANDIDATES,
    queries: int = 500,
    seed: int = 0,
) -> dict[str, int]:
    """Write the folder ``out``, and ``out/unseen``: definitions that no training example has, and queries for them.

    Args:
        source: ``synsets.jsonl.gz``.
        out: Folder to write; its split ``dev`` asks for trained definitions by sentences that are not trained.
        thoughts: Their kind.
        candidates: Definitions of the unseen benchmark, whose split is ``dev`` too.
        queries: Of each of the two splits.
        seed: Of all choices.

    Returns:
        What was written to ``out``, as :func:`write_data` says it, and the same of ``unseen``.

    Raises:
        CorpusError: The file is missing or malformed, by line, or too small.
        ValueError: There is no such kind of thought.
    """
    kinds = get_args(Thoughts)
    if thoughts not in kinds:
        raise ValueError(f"thoughts must be one of {', '.join(kinds)}, got {thoughts!r}")
    synsets = read_synsets(source)
    used = [synset for synset in synsets.values() if synset.examples]
    if len(used) < 2 * queries or len(synsets) < 2 * candidates:
        raise CorpusError(f"{source} has {len(used)} meanings with examples: take the complete file, or ask for less")
    rng = random.Random(f"wordnet/{seed}")
    asked = rng.sample(used, queries)
    rest = [synset for synset in synsets.values() if synset not in set(asked)]
    unseen = {s.id: s for s in [*asked, *rng.sample(rest, candidates - queries)]}
    rng = random.Random(f"wordnet/{seed}/examples")
    train: list[Example] = []
    dev: list[Example] = []
    for synset in synsets.values():
        if synset.id in unseen:
            continue
        thought = chain(synsets, synset) if thoughts == "chain" else ""
        examples = [_use(synset, sentence, thought, rng) for sentence in synset.examples]
        if len(examples) > 1 and len(dev) < queries:
            dev.append(examples.pop())
        # Words alone, as users ask.
        train += [*examples, Example(synset.lemmas[0], thought, (synset.id,), (), "word")]
    documents = {synset.id: synset.definition for synset in synsets.values() if synset.id not in unseen}
    counts = write_data(out, documents, {"train": train, "dev": dev})
    new = [_use(s, s.examples[0], chain(synsets, s) if thoughts == "chain" else "", rng) for s in asked]
    other = write_data(out / "unseen", {s.id: s.definition for s in unseen.values()}, {"dev": new})
    return counts | {f"unseen {name}": count for name, count in other.items()}


def read_synsets(source: Path) -> dict[str, Synset]:
    """Read every meaning, by id; raises as :func:`build`."""
    if not source.is_file():
        raise CorpusError(f"{source} is missing: it is synsets.jsonl.gz, made of Open English WordNet")
    synsets = {}
    with gzip.open(source, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                above = row.get("relations", {}).get("hypernym", [None])[0]
                examples = tuple(text for text in row.get("examples", ()) if isinstance(text, str) and text.strip())
                synset = Synset(row["id"], tuple(row["lemmas"]), "; ".join(row["definition"]), examples, above)
            except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
                raise CorpusError(f"{source}:{number}: no synset: {type(error).__name__} {error}") from None
            if synset.definition.strip() and synset.lemmas:
                synsets[synset.id] = synset
    return synsets


def chain(synsets: Mapping[str, Synset], synset: Synset) -> str | None:
    """What a meaning is a kind of, and what that is, up to three steps; None at the top."""
    names: list[str] = []
    above = synsets.get(synset.above or "")
    while above is not None and len(names) < MOST_STEPS:
        names.append(above.lemmas[0])
        above = synsets.get(above.above or "")
    return f"{synset.lemmas[0]} is a kind of {', a kind of '.join(names)}".lower() if names else None


def _use(synset: Synset, sentence: str, thought: str | None, rng: random.Random) -> Example:
    word = _word_in(synset.lemmas, sentence) or rng.choice(synset.lemmas)
    return Example(f"{word}: {sentence}", thought, (synset.id,), (), "use")


def _word_in(lemmas: Sequence[str], sentence: str) -> str | None:
    low = sentence.casefold()
    return next((lemma for lemma in lemmas if lemma.casefold() in low), None)
