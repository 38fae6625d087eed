"""The files that ``t1 eval`` writes: what cannot be written is refused before hours of measuring, not after."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from t1_vectorstore.cli.console import note

if TYPE_CHECKING:
    from t1_vectorstore.evaluation.benchmark import Benchmark
    from t1_vectorstore.evaluation.experiment import Experiment


@dataclass(frozen=True)
class EvalFiles:
    """What is to be written.

    Attributes:
        report: the HTML file, if one is wanted.
        runs: the folder of the TREC run files, if they are.
    """

    report: Path | None
    runs: Path | None

    def check(self, tasks: Sequence[Benchmark]) -> None:
        """Make the folders, and see that they can be written to, and that run files can name what is ranked.

        Of a user's own index only the documents that are judged are looked at here.

        Raises:
            ValueError: a path that cannot be written, or an id that no run file can hold.
            CorpusError: the documents cannot be read.
        """
        from t1_vectorstore.evaluation.runs import check_ids

        if self.runs is not None:
            for task in tasks:
                check_ids(task.queries)
                check_ids(document for gains in task.relevant.values() for document in gains)
            if tasks[0].read is not None:
                check_ids(str(document.id) for document in tasks[0].documents())
            _make_folder(self.runs, "--runs")
        if self.report is not None:
            _make_folder(self.report.parent, "--report")
            if self.report.exists() and not (self.report.is_file() and os.access(self.report, os.W_OK)):
                raise ValueError(f"--report {self.report} is no file that can be written")

    def write(self, measured: Sequence[Experiment], facts: Mapping[str, str]) -> None:
        """Write the files, and say where."""
        from t1_vectorstore.evaluation.report import write_report

        if self.report is not None:
            write_report(measured, self.report, facts={**facts, "command": _command()})
            note(f"report: {self.report}")
        if self.runs is not None:
            _write_runs(measured, self.runs)


def _make_folder(folder: Path, option: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{option}: the folder {folder} cannot be made: {error.strerror}") from error
    if not os.access(folder, os.W_OK):
        raise ValueError(f"{option}: the folder {folder} cannot be written to")


def _write_runs(measured: Sequence[Experiment], folder: Path) -> None:
    """One file for each system; of several splits, each in a folder of its name."""
    from t1_vectorstore.evaluation.runs import write_trec

    for each in measured:
        into = folder if len(measured) == 1 else folder / each.benchmark.name.rpartition("/")[2]
        into.mkdir(parents=True, exist_ok=True)
        names = _file_names(outcome.run.system for outcome in each.outcomes.values())
        for outcome in each.outcomes.values():
            write_trec(outcome.run, into / f"{names[outcome.run.system]}.trec")


def _file_names(systems: Iterable[str]) -> dict[str, str]:
    """A name for each system's file; of those that would have the same one, the later ones are numbered."""
    names: dict[str, str] = {}
    for system in systems:
        plain = name = system.replace(":", "-").replace("/", "-")
        number = 1
        while name in names.values():
            number += 1
            name = f"{plain}-{number}"
        names[system] = name
    return names


def _command() -> str:
    """This command as it was given, but for keys to servers: a report is shown to others."""
    return re.sub(r"(api[-_]key[= ])\S+", r"\1...", " ".join(["t1", *sys.argv[1:]]))
