"""The answers of a system: rankings by query, with their cost; and TREC run files."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from t1_vectorstore.errors import CorpusError
from t1_vectorstore.readers.lines import Lines, raise_error
from t1_vectorstore.types import Vector

_NUMBER = re.compile(r"[-+]?[0-9.]+([eE][-+]?[0-9]+)?")

Ranking = Mapping[str, float]
"""Scores by document id; higher is better. Equal scores are in any order until ``top_documents`` orders them."""


@dataclass(frozen=True)
class Answer:
    """The answer of a system to one query.

    Attributes:
        ranking: The documents found.
        seconds: Wall time to think, embed and find ten documents. The time of a batch is divided among its queries.
        thoughts: Thoughts that the query was embedded with.
        thought_tokens: Number of generated tokens.
        vector: The query's vector, if there is one.
        exact: Whether a thought equals a known right thought; ``None`` if none was generated or none is known.
    """

    ranking: Ranking
    seconds: float
    thoughts: Sequence[str] = ()
    thought_tokens: int = 0
    vector: Vector | None = None
    exact: bool | None = None


@dataclass(frozen=True)
class Run:
    """All answers of one system.

    Attributes:
        system: Name of the system.
        answers: Answers by query id.
        model: Fingerprint of the model that made the vectors; ``None`` without vectors.
    """

    system: str
    answers: Mapping[str, Answer]
    model: str | None = None

    @property
    def rankings(self) -> dict[str, Ranking]:
        """The rankings by query id."""
        return {query: answer.ranking for query, answer in self.answers.items()}


def trec_order(ranking: Ranking) -> dict[str, float]:
    """Order documents as trec_eval does: by score in single precision, and equal scores by descending id."""
    single = dict(zip(ranking, array("f", ranking.values()), strict=True))
    return {name: ranking[name] for name in sorted(ranking, key=lambda name: (single[name], name), reverse=True)}


def top_documents(ranking: Ranking, excluded: frozenset[str], depth: int) -> dict[str, float]:
    """Return the best ``depth`` documents in the order in which they are scored, without the excluded ones."""
    kept = trec_order({document: score for document, score in ranking.items() if document not in excluded})
    return dict(islice(kept.items(), depth))


def check_ids(ids: Iterable[str]) -> None:
    """Refuse ids that a TREC run file cannot hold.

    Raises:
        ValueError: An id is empty or contains white space, which separates the columns of the format.
    """
    for identifier in ids:
        if identifier.split() != [identifier]:
            problem = "contains white space" if identifier else "is empty"
            raise ValueError(
                f"the id {identifier!r} {problem}, which no TREC run file can hold: leave --runs out, or give other ids"
            )


def write_trec(run: Run, path: Path) -> None:
    """Write a TREC run file: ``query Q0 document rank score system``, one line for each document found.

    Ranks are those of trec_eval, which goes by the scores.

    Raises:
        ValueError: The file cannot hold an id; it is not written.
    """
    for query, ranking in run.rankings.items():
        check_ids((query, *ranking))
    tag = "_".join(run.system.split())
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for query, ranking in run.rankings.items():
            for rank, (document, score) in enumerate(trec_order(ranking).items(), 1):
                file.write(f"{query} Q0 {document} {rank} {score:.9g} {tag}\n")


def read_trec(path: Path) -> dict[str, dict[str, float]]:
    """Read a TREC run file of any system, plain or gzipped.

    Returns:
        Rankings by query id, best first.

    Raises:
        CorpusError: A malformed line (file and line).
    """
    rankings: dict[str, dict[str, float]] = {}
    lines = Lines(path, raise_error)
    for line in lines:
        if error := lines.take_error():
            raise error
        cells = line.split()
        if len(cells) != 6 or not _NUMBER.fullmatch(cells[4]):
            raise CorpusError(
                f"{path}:{lines.number}: expected 'query Q0 document rank score tag', got {line.strip()!r}"
            )
        rankings.setdefault(cells[0], {})[cells[2]] = float(cells[4])
    return {query: trec_order(found) for query, found in rankings.items()}
