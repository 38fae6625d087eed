"""The progress bar of a load."""

from __future__ import annotations

import pytest
from rich.progress import Progress

from t1_vectorstore.cli.progress import LoadBar
from t1_vectorstore.indexing import LoadProgress


@pytest.mark.parametrize(
    ("progress", "percentage"),
    [
        (LoadProgress(documents=10, chunks=10), 0),
        (LoadProgress(documents=10, chunks=20, unchanged=5, stored=5), 50),
        (LoadProgress(documents=10, chunks=20, unchanged=5, stored=15), 100),
        (LoadProgress(documents=10, failed=10), 100),
    ],
)
def test_bytes_that_are_only_read_do_not_count_as_done(progress: LoadProgress, percentage: int) -> None:
    bar = Progress(disable=True)
    shown = LoadBar(bar, 1000)
    shown.read(1000)
    shown.show(progress)
    assert bar.tasks[0].percentage == percentage
