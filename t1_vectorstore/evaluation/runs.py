"""What a system answered: rankings by query, with what each cost; and the TREC file format for the rankings."""

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
"""Scores by document id, best first, higher is better; equals in any order, until :func:`cut` gives them one."""


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


def in_order(ranking: Mapping[str, float]) -> dict[str, float]:
    """The documents as trec_eval ranks them: by their scores in single precision, and equals by the later id first."""
    single = dict(zip(ranking, array("f", ranking.values()), strict=True))
    return {name: ranking[name] for name in sorted(ranking, key=lambda name: (single[name], name), reverse=True)}


def cut(ranking: Ranking, excluded: frozenset[str], depth: int) -> dict[str, float]:
    """The best ``depth`` documents of a ranking, those that are excluded left out, in the order they are scored in."""
    kept = in_order({document: score for document, score in ranking.items() if document not in excluded})
    return dict(islice(kept.items(), depth))


def check_ids(ids: Iterable[str]) -> None:
    """Refuse ids that cannot stand in a TREC run file.

    Raises:
        ValueError: an id is empty or holds white space, which separates the columns of the format.
    """
    for identifier in ids:
        if identifier.split() != [identifier]:
            what = "holds white space" if identifier else "is empty"
            raise ValueError(
                f"the id {identifier!r} {what}, which a TREC run file cannot: write no run files, or give other ids"
            )


def write_trec(run: Run, path: Path) -> None:
    """Write a TREC run file: ``query Q0 document rank score system``, one line for each document found.

    Ranks are those that trec_eval gives, which goes by the scores.

    Raises:
        ValueError: an id cannot stand in the file, which is then not written.
    """
    for query, ranking in run.rankings.items():
        check_ids((query, *ranking))
    tag = "_".join(run.system.split())
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for query, ranking in run.rankings.items():
            for rank, (document, score) in enumerate(in_order(ranking).items(), 1):
                file.write(f"{query} Q0 {document} {rank} {score:.9g} {tag}\n")


def read_trec(path: Path) -> dict[str, dict[str, float]]:
    """Read a TREC run file, of any system, plain or gzipped.

    Returns:
        rankings by query id, best first.

    Raises:
        CorpusError: a line that is not of the format, with file and line.
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
    return {query: in_order(found) for query, found in rankings.items()}
