"""Questions with their documents: StrategyQA (MIT), e-CARE (MIT) and PubMedQA (MIT).

- ``strategyqa``: yes-or-no questions, and the facts that decide them. The thought is the steps of the question, which
  say what one would look up; or the facts, which are the best possible thought and hard to know.
- ``ecare``: a cause and its effect, and the general law behind them, which is also the thought.
- ``pubmedqa``: questions, and the abstracts of the papers that answer them; for evaluation, so it has no ``train``.

A source folder has ``corpus.jsonl``, ``train.jsonl`` and ``dev.jsonl``, plain or gzipped, with the fields ``_id``,
``text`` and ``positives``; StrategyQA's ``train`` also ``decomposition`` and ``facts``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from recipes.records import is_held_out, read_records
from t1_vectorstore.errors import CorpusError
from t1_vectorstore.training.examples import Example, data_file, read_corpus, write_data

ThoughtKind = Literal["steps", "facts", "none"]
TUNE_ONE_IN = 20
MIN_STEP_WORDS = 2
"""Smallest number of words that make a step worth saying, without words that only compare what other steps have found:
"Is #2 greater than #1?" has none."""
_COMPARING = frozenset(
    re.findall(
        r"\w+",
        "about above any are been before below between both can case could did different does each either equal from "
        "great greater had has have higher included into least less listed longer lower more most negative not one "
        "positive same smaller than that the their them there these they those was were what which with within yes",
    )
)


def build_strategyqa(source: Path, out: Path, *, thoughts: ThoughtKind = "steps") -> dict[str, int]:
    """Write ``train``, ``tune`` (every twentieth training question, chosen by hash) and ``dev``, which has no thoughts.

    Args:
        source: Source folder.
        out: Folder to write.
        thoughts: Kind of the thoughts.

    Returns:
        Number of documents and examples written, as from ``write_data``.

    Raises:
        CorpusError: A file is missing or malformed, or names a document that the corpus lacks.
    """

    def thought(row: Mapping[str, Any], _: Sequence[str]) -> str | None:
        if thoughts == "none" or "decomposition" not in row:
            return None
        return question_steps(row["decomposition"]) if thoughts == "steps" else " ".join(row["facts"])

    return _build(source, out, thought, train_fields=("decomposition", "facts"))


def build_ecare(source: Path, out: Path, *, thoughts: bool = True) -> dict[str, int]:
    """Write ``train``, ``tune`` (every twentieth training pair, chosen by hash) and ``dev``.

    Half of the laws of ``dev`` also stand behind a pair of ``train``, as in the source.

    Args:
        source: Source folder.
        out: Folder to write.
        thoughts: Whether the law is the thought.

    Returns:
        Number of documents and examples written, as from ``write_data``.

    Raises:
        CorpusError: A file is missing or malformed, or names a document that the corpus lacks.
    """
    return _build(source, out, lambda _, laws: laws[0] if thoughts else None)


def build_pubmedqa(source: Path, out: Path) -> dict[str, int]:
    """Write the corpus and ``dev``, for evaluation.

    Args:
        source: Source folder.
        out: Folder to write.

    Returns:
        Number of documents and examples written, as from ``write_data``.

    Raises:
        CorpusError: A file is missing or malformed, or names a document that the corpus lacks.
    """
    return _build(source, out, lambda *_: None, splits=("dev",))


def question_steps(decomposition: Sequence[str]) -> str:
    """Return the steps of a question in one line, with "it" for references to the results of other steps.

    Steps that only compare results say nothing about what to look up, and are left out, except if it is the first.
    """
    steps = []
    for number, step in enumerate(decomposition):
        content = set(re.findall(r"[^\W\d_]{3,}", re.sub(r"#\d+", " ", step.lower()))) - _COMPARING
        if number == 0 or len(content) >= MIN_STEP_WORDS:
            steps.append(" ".join(re.sub(r"#\d+", "it", step).split()))
    return " ".join(steps)


def _build(
    source: Path,
    out: Path,
    thought: Any,  # noqa: ANN401 - a function of a record and the texts of its documents
    *,
    splits: Sequence[str] = ("train", "dev"),
    train_fields: Sequence[str] = (),
) -> dict[str, int]:
    documents = {name: " ".join(text.split()) for name, text in read_corpus(source).items()}
    examples: dict[str, list[Example]] = {}
    for split in splits:
        path = data_file(source, f"{split}.jsonl")
        fields = ("_id", "text", "positives", *(train_fields if split == "train" else ()))
        for row in read_records(path, fields):
            if unknown := [name for name in row["positives"] if name not in documents]:
                raise CorpusError(f"{path}: {row['_id']}: the corpus has no document {unknown[0]!r}")
            tune = split == "train" and is_held_out(row["_id"], TUNE_ONE_IN)
            texts = [documents[name] for name in row["positives"]]
            example = Example(
                " ".join(row["text"].split()), thought(row, texts), tuple(row["positives"]), (), "question"
            )
            examples.setdefault("tune" if tune else split, []).append(example)
    return write_data(out, documents, examples)
