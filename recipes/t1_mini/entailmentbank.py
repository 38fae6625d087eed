"""Questions of elementary science and the facts of their explanations, from EntailmentBank (Apache-2.0).

The kinds of thoughts:

- ``hypothesis``: the answer as a statement; the best possible thought, and the hardest to find.
- ``topics``: the content words of the hypothesis, in its order.
- ``facts``: two of the facts.
- ``empty``: closed at once.
- ``none``: trained without thinking.

Besides the questions there are shortened facts as queries for themselves (part ``fact``, without thoughts).
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from recipes.records import is_held_out, read_records
from t1_vectorstore.errors import CorpusError
from t1_vectorstore.readers.lines import Lines, raise_error
from t1_vectorstore.training.examples import Example, read_corpus, write_data

ThoughtKind = Literal["hypothesis", "topics", "facts", "empty", "none"]
MakeThought = Callable[[str, Sequence[str]], str | None]
"""Makes a thought of a hypothesis and the texts of its facts."""
TUNE_ONE_IN = 10
_FUNCTION_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a an the of in on at to for from by with and or as is are was were be been being it its this that these those "
        "which than then into can may will would if when while because causes cause example kind something such more "
        "most one",
    )
)


def build(
    source: Path, out: Path, *, thoughts: ThoughtKind = "topics", facts: int = 2, seed: int = 0
) -> dict[str, int]:
    """Write ``train``, ``tune`` (every tenth training question, chosen by hash) and the official ``dev``.

    Args:
        source: Folder with ``corpus.jsonl``, ``train.jsonl``, ``queries.dev.jsonl`` and ``qrels.dev.tsv``.
        out: Folder to write.
        thoughts: Kind of thoughts.
        facts: Number of shortened queries made from each fact of the corpus.
        seed: Seed of the choice of words in shortened queries.

    Returns:
        Number of documents and examples written, as from ``write_data``.

    Raises:
        CorpusError: A file is missing or malformed; the message names the line.
        ValueError: ``thoughts`` is not a kind of thoughts.
    """
    kinds: dict[str, MakeThought] = {
        "hypothesis": lambda hypothesis, _: hypothesis,
        "topics": lambda hypothesis, _: topics(hypothesis),
        "facts": lambda _, texts: ". ".join(texts[:2]) or None,
        "empty": lambda *_: "",
        "none": lambda *_: None,
    }
    if thoughts not in kinds:
        raise ValueError(f"thoughts must be one of {', '.join(kinds)}, got {thoughts!r}")
    make_thought = kinds[thoughts]
    documents = read_corpus(source)
    train: list[Example] = []
    tune: list[Example] = []
    for row in read_records(source / "train.jsonl", ("_id", "text", "hypothesis", "facts")):
        known = [fact["id"] for fact in row["facts"] if fact["id"] in documents]
        if known:  # the corpus lacks one fact in ten
            thought = make_thought(row["hypothesis"], [fact["text"] for fact in row["facts"]])
            held_out = is_held_out(row["_id"], TUNE_ONE_IN)
            example = Example(row["text"], thought, tuple(dict.fromkeys(known)), (), "question")
            (tune if held_out else train).append(example)
    rng = random.Random(f"entailmentbank/{seed}")
    train += [e for name, text in documents.items() for e in _shortened_facts(name, text, facts, rng)]
    dev = list(_dev_examples(source, documents, make_thought))
    return write_data(out, documents, {"train": train, "tune": tune, "dev": dev})


def topics(text: str) -> str | None:
    """Return the content words of a statement, each once and in order; ``None`` if it has none."""
    words = [word for word in re.findall(r"[a-z][a-z'-]*", text.lower()) if word not in _FUNCTION_WORDS]
    return " ".join(dict.fromkeys(words)) or None


def _dev_examples(source: Path, documents: Mapping[str, str], make_thought: MakeThought) -> Iterator[Example]:
    relevant: dict[str, list[str]] = {}
    path = source / "qrels.dev.tsv"
    for line in Lines(path, raise_error):
        cells = line.split("\t")
        if len(cells) != 3:
            raise CorpusError(f"{path}: expected query, document and gain, got {line.strip()!r}")
        relevant.setdefault(cells[0], []).append(cells[1])
    for row in read_records(source / "queries.dev.jsonl", ("_id", "text", "hypothesis")):
        known = [name for name in relevant.get(row["_id"], ()) if name in documents]
        if known:
            thought = make_thought(row["hypothesis"], [documents[name] for name in known])
            yield Example(row["text"], thought, tuple(known), (), "question")


def _shortened_facts(name: str, text: str, count: int, rng: random.Random) -> Iterator[Example]:
    """Yield queries for a fact: its text without three words in ten."""
    words = text.split()
    for _ in range(count if len(words) > 2 else 0):
        kept = [word for word in words if rng.random() < 0.7]
        if kept and kept != words:
            yield Example(" ".join(kept), None, (name,), (), "fact")
