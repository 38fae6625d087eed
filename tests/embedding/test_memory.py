"""Out of memory: smaller batches, said aloud, the same vectors; one text alone that does not fit is an error."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from t1_vectorstore import T1Embedder
from t1_vectorstore.backends.oom import OutOfMemoryWarning
from t1_vectorstore.errors import BackendError
from tests.embedding.test_thoughts import cosines

TEXTS = [f"text number {number} " * (number % 9 + 1) for number in range(40)]
ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:129] err == 0. DefaultCPUAllocator: can't allocate memory: 12 bytes"),
    RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GiB)"),
    MemoryError(),
]


def limit(embedder: T1Embedder, tokens: int, error: Exception) -> list[int]:
    """Let every forward pass over more than so many tokens fail; the list gets the tokens of each that was tried."""
    budget, thoughts = embedder._backend._budget, embedder._backend._thoughts  # type: ignore[attr-defined]
    run, share, tried = budget.run, thoughts.share, []

    def limited(lengths: Sequence[int], forward: Callable[[list[int]], object], *, padded: bool) -> Iterator[object]:
        def check(batch: list[int]) -> object:
            tried.append(sum(lengths[row] for row in batch))
            if tried[-1] > tokens:
                raise error
            return forward(batch)

        return run(lengths, check, padded=padded)

    def share_limited(lengths: Sequence[int], forward: Callable[[int], object], *, once: int) -> object:
        def check(at_once: int) -> object:
            if once + at_once * max(lengths) > tokens:
                raise error
            return forward(at_once)

        return share(lengths, check, once=once)

    budget.run, thoughts.share = limited, share_limited
    return tried


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_documents_go_on_in_smaller_batches(tiny: Path, error: Exception) -> None:
    whole = T1Embedder.load(tiny, dtype="float32").embed_documents(TEXTS).vectors
    embedder = T1Embedder.load(tiny, dtype="float32")
    tried = limit(embedder, 600, error)
    finished: list[int] = []
    with pytest.warns(OutOfMemoryWarning) as caught:
        halved = embedder.embed_documents(TEXTS, on_done=finished.append)
    assert cosines(halved.vectors, whole).min() >= 0.9999
    assert sum(finished) == len(TEXTS)
    assert max(tokens for tokens in tried if tokens <= 600) > 300
    assert f"{tried[0]} tokens in a forward pass: going on with {tried[0] // 2}" in str(caught[0].message)
    assert {w.filename for w in caught} == {__file__}


def test_the_smaller_budget_is_remembered(tiny: Path) -> None:
    embedder = T1Embedder.load(tiny, dtype="float32", batch_tokens=1200)
    tried = limit(embedder, 700, ERRORS[0])
    with pytest.warns(OutOfMemoryWarning):
        embedder.embed_documents(TEXTS)
    assert tried[0] > 700
    tried.clear()
    embedder.embed_documents(TEXTS)  # a warning would be an error here
    assert 300 < max(tried) <= 600


def test_thoughts_go_on_in_smaller_batches(tiny: Path) -> None:
    whole = T1Embedder.load(tiny, dtype="float32").embed_queries(TEXTS, budget=6)
    embedder = T1Embedder.load(tiny, dtype="float32")
    limit(embedder, 300, ERRORS[0])
    with pytest.warns(OutOfMemoryWarning, match="out of memory on cpu"):
        halved = embedder.embed_queries(TEXTS, budget=6)
    assert [query.thoughts for query in halved] == [query.thoughts for query in whole]
    assert cosines(*(np.stack([query.vector for query in queries]) for queries in (halved, whole))).min() >= 0.9999


def test_one_text_that_does_not_fit_alone(tiny: Path) -> None:
    embedder = T1Embedder.load(tiny)
    limit(embedder, 100, ERRORS[0])
    with (
        pytest.warns(OutOfMemoryWarning),
        pytest.raises(BackendError, match=r"out of memory on cpu with a single text of 137 tokens.*smaller dtype"),
    ):
        embedder.embed_documents(TEXTS)


def test_other_failures_are_not_taken_for_it(tiny: Path) -> None:
    embedder = T1Embedder.load(tiny)
    limit(embedder, 0, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        embedder.embed_documents(TEXTS)


@pytest.mark.skipif(sys.platform != "linux", reason="the limit on memory is Linux's")
def test_a_process_that_really_runs_out(tiny: Path) -> None:
    script = f"""
import resource, warnings
from pathlib import Path
from t1_vectorstore import T1Embedder

texts = ["word " * 100] * 150
embedder = T1Embedder.load({str(tiny)!r}, dtype="float32", batch_tokens=10**6)
embedder.embed_documents(texts[:2])
size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + 100 * 2**20,) * 2)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    vectors = embedder.embed_documents(texts).vectors
assert {{w.category.__name__ for w in caught}} == {{"OutOfMemoryWarning"}}, caught
assert (vectors @ vectors[0]).min() > 0.9999
print(len(caught))
"""
    # The limit is on addresses: malloc would take 64 MB of them for a thread, and keep those between what it freed.
    malloc = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, env={**os.environ, **malloc}
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 1
