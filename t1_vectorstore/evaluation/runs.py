"""What a system answered: rankings by query, with what each cost; and the TREC file format for the rankings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from t1_vectorstore.errors import CorpusError
from t1_vectorstore.types import Vector

_NUMBER = re.compile(r"[-+]?[0-9.]+([eE][-+]?[0-9]+)?")

Ranking = Mapping[str, float]
"""Scores by document id, best first, higher is better."""


@dataclass(frozen=True)
class Answer:
    """What a system answered to one query.

    Attributes:
        ranking: the documents found.
        seconds: wall time to think, to embed and to find ten documents; a batch's time is shared evenly by its queries.
        thoughts: the reasoning behind it.
        thought_tokens: tokens generated.
        vector: the query's, where there is one.
        exact: whether it was thought exactly as a right thought has it; None if nothing was thought, or none is known.
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
        system: its name.
        answers: by query id.
        space: the model whose vectors the answers have; only those of one space can be compared.
    """

    system: str
    answers: Mapping[str, Answer]
    space: str | None = None

    @property
    def rankings(self) -> dict[str, Ranking]:
        """Only the rankings."""
        return {query: answer.ranking for query, answer in self.answers.items()}


def cut(ranking: Ranking, excluded: frozenset[str], depth: int) -> dict[str, float]:
    """The best ``depth`` documents of a ranking, those that are excluded left out."""
    kept = [(document, score) for document, score in ranking.items() if document not in excluded]
    return dict(kept[:depth])


def write_trec(run: Run, path: Path) -> None:
    """Write a TREC run file: ``query Q0 document rank score system``, one line for each document found.

    Raises:
        ValueError: an id holds white space, which separates the columns of the format.
    """
    tag = "_".join(run.system.split())
    with path.open("w", encoding="utf-8") as file:
        for query, ranking in run.rankings.items():
            for rank, (document, score) in enumerate(ranking.items(), 1):
                for identifier in (query, document):
                    if not identifier or identifier.split() != [identifier]:
                        raise ValueError(f"the id {identifier!r} holds white space, which a TREC run file cannot")
                file.write(f"{query} Q0 {document} {rank} {score:.9g} {tag}\n")


def read_trec(path: Path) -> dict[str, dict[str, float]]:
    """Read a TREC run file, of any system.

    Returns:
        rankings by query id, best first.

    Raises:
        CorpusError: a line that is not of the format, with file and line.
    """
    rankings: dict[str, dict[str, float]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        cells = line.split()
        if len(cells) != 6 or not _NUMBER.fullmatch(cells[4]):
            raise CorpusError(f"{path}:{number}: expected 'query Q0 document rank score tag', got {line!r}")
        rankings.setdefault(cells[0], {})[cells[2]] = float(cells[4])
    return {query: dict(sorted(found.items(), key=lambda entry: -entry[1])) for query, found in rankings.items()}
