"""The files that ``t1 eval`` writes. They are checked before the evaluation, which may take hours."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from t1_vectorstore.cli.console import note
from t1_vectorstore.cli.outputs import check_report

if TYPE_CHECKING:
    from t1_vectorstore.evaluation.benchmark import Benchmark
    from t1_vectorstore.evaluation.experiment import Experiment


@dataclass(frozen=True)
class EvalFiles:
    """The HTML report and the folder of TREC run files; ``None`` for those that are not wanted."""

    report: Path | None
    runs: Path | None

    def check(self, tasks: Sequence[Benchmark]) -> None:
        """Create the folders, and check that the files can be written and that run files can hold all ids.

        In a user's own index, only the ids of judged documents are checked.
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
            check_report(self.report)

    def write(self, experiments: Sequence[Experiment], facts: Mapping[str, str]) -> None:
        """Write the files, and print the path of the report."""
        from t1_vectorstore.evaluation.report import write_report

        if self.report is not None:
            write_report(experiments, self.report, facts={**facts, "command": _command()})
            note(f"report: {self.report}")
        if self.runs is not None:
            _write_runs(experiments, self.runs)


def _make_folder(folder: Path, option: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{option}: the folder {folder} cannot be created: {error.strerror}") from error
    if not os.access(folder, os.W_OK):
        raise ValueError(f"{option}: the folder {folder} cannot be written to")


def _write_runs(experiments: Sequence[Experiment], folder: Path) -> None:
    """Write one file for each system; with several splits, in a folder for each split."""
    from t1_vectorstore.evaluation.runs import write_trec

    for experiment in experiments:
        split_folder = folder if len(experiments) == 1 else folder / experiment.benchmark.name.rpartition("/")[2]
        split_folder.mkdir(parents=True, exist_ok=True)
        names = _file_names(experiment.outcomes)
        for system, outcome in experiment.outcomes.items():
            write_trec(outcome.run, split_folder / f"{names[system]}.trec")


def _file_names(systems: Iterable[str]) -> dict[str, str]:
    """Return a file name for each system, with a number if an earlier system has the same one."""
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
    """Return this command without API keys, since a report is shown to others."""
    return re.sub(r"(api[-_]key[= ])\S+", r"\1...", " ".join(["t1", *sys.argv[1:]]))
