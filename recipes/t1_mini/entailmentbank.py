"""Questions of elementary science and the facts their explanations need, from EntailmentBank (Apache-2.0).

A thought is one of these kinds: the ``hypothesis`` (the answer as a statement: the best a thought can be, and the
hardest to find), the ``topics`` (its content words, in its order), the ``facts`` (two of the facts themselves), or
``empty``: closed at once.
Beside the questions there are facts with words left out, which find themselves (part ``fact``, without thoughts).
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from t1_vectorstore.errors import CorpusError
from t1_vectorstore.readers.lines import Lines, raise_error
from t1_vectorstore.training.examples import Example, read_corpus, write_data

Thoughts = Literal["hypothesis", "topics", "facts", "empty", "none"]
TUNE_ONE_IN = 10
_SMALL = frozenset(
    re.findall(
        r"\w+",
        "a an the of in on at to for from by with and or as is are was were be been being it its this that these those "
        "which than then into can may will would if when while because causes cause example kind something such more "
        "most one",
    )
)


def build(source: Path, out: Path, *, thoughts: Thoughts = "topics", facts: int = 2, seed: int = 0) -> dict[str, int]:
    """Write the folder ``out``: ``train``, ``tune`` (every tenth training question, by hash) and the official ``dev``.

    Args:
        source: The folder with ``corpus.jsonl``, ``train.jsonl``, ``queries.dev.jsonl`` and ``qrels.dev.tsv``.
        out: Folder to write.
        thoughts: Their kind.
        facts: Shortened queries made of each fact of the corpus.
        seed: Of the words left out.

    Returns:
        What was written, as :func:`write_data` says it.

    Raises:
        CorpusError: A file is missing or malformed, by line.
        ValueError: There is no such kind of thought.
    """
    kinds: dict[str, Callable[[str, Sequence[str]], str | None]] = {
        "hypothesis": lambda hypothesis, _: hypothesis,
        "topics": lambda hypothesis, _: topics(hypothesis),
        "facts": lambda _, texts: ". ".join(texts[:2]) or None,
        "empty": lambda *_: "",
        "none": lambda *_: None,
    }
    if thoughts not in kinds:
        raise ValueError(f"thoughts must be one of {', '.join(kinds)}, got {thoughts!r}")
    think = kinds[thoughts]
    documents = read_corpus(source)
    train: list[Example] = []
    tune: list[Example] = []
    for row in _records(source / "train.jsonl", ("_id", "text", "hypothesis", "facts")):
        known = [fact["id"] for fact in row["facts"] if fact["id"] in documents]
        if known:  # one in ten facts is not in the corpus
            thought = think(row["hypothesis"], [fact["text"] for fact in row["facts"]])
            held = int(hashlib.sha256(row["_id"].encode()).hexdigest(), 16) % TUNE_ONE_IN == 0
            (tune if held else train).append(Example(row["text"], thought, tuple(dict.fromkeys(known)), (), "question"))
    rng = random.Random(f"entailmentbank/{seed}")
    train += [e for name, text in documents.items() for e in _shortened(name, text, facts, rng)]
    return write_data(out, documents, {"train": train, "tune": tune, "dev": list(_dev(source, documents, think))})


def topics(text: str) -> str | None:
    """The content words of a statement, each once, in its order; None if it has none."""
    words = [word for word in re.findall(r"[a-z][a-z'-]*", text.lower()) if word not in _SMALL]
    return " ".join(dict.fromkeys(words)) or None


def _dev(
    source: Path, documents: Mapping[str, str], think: Callable[[str, Sequence[str]], str | None]
) -> Iterator[Example]:
    judged: dict[str, list[str]] = {}
    path = source / "qrels.dev.tsv"
    for line in Lines(path, raise_error):
        cells = line.split("\t")
        if len(cells) != 3:
            raise CorpusError(f"{path}: expected query, document and gain, got {line.strip()!r}")
        judged.setdefault(cells[0], []).append(cells[1])
    for row in _records(source / "queries.dev.jsonl", ("_id", "text", "hypothesis")):
        known = [name for name in judged.get(row["_id"], ()) if name in documents]
        if known:
            thought = think(row["hypothesis"], [documents[name] for name in known])
            yield Example(row["text"], thought, tuple(known), (), "question")


def _shortened(name: str, text: str, count: int, rng: random.Random) -> Iterator[Example]:
    """A fact with three words in ten left out finds itself."""
    words = text.split()
    for _ in range(count if len(words) > 2 else 0):
        kept = [word for word in words if rng.random() < 0.7]
        if kept and kept != words:
            yield Example(" ".join(kept), None, (name,), (), "fact")


def _records(path: Path, fields: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    lines = Lines(path, raise_error)
    for line in lines:
        try:
            row = json.loads(line)
            if lacking := [field for field in fields if field not in row]:
                raise ValueError(f"no field {lacking[0]!r}")
        except (ValueError, TypeError) as error:
            raise CorpusError(f"{path}:{lines.number}: {error}") from None
        yield row
