"""Running out of memory: a warning, smaller batches and the same vectors; an error if a single text does not fit."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from t1_vectorstore import T1Embedder
from t1_vectorstore.backends.batching import Layout
from t1_vectorstore.backends.decoding import Sampler, ThoughtState
from t1_vectorstore.backends.local_model import RunningBatch
from t1_vectorstore.errors import BackendError, OutOfMemoryWarning
from tests.backends.contract import cosines

TEXTS = [f"text number {number} " * (number % 9 + 1) for number in range(40)]
ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:129] err == 0. DefaultCPUAllocator: can't allocate memory: 12 bytes"),
    RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GiB)"),
    MemoryError(),
]


def limit(embedder: T1Embedder, tokens: int, error: Exception) -> list[int]:
    """Let each forward pass over more than ``tokens`` tokens fail; return the list of the sizes that were tried."""
    model: Any = embedder._backend.model  # type: ignore[attr-defined]
    encode, start_batch, tried = model.encode, model.start_batch, []

    def limited_encode(sequences: Sequence[Sequence[int]]) -> torch.Tensor:
        tried.append(sum(map(len, sequences)))
        if tried[-1] > tokens:
            raise error
        return encode(sequences)

    def limited_batch(sampler: Sampler) -> RunningBatch:
        batch = start_batch(sampler)
        admit = batch.admit

        def limited_admit(thoughts: Sequence[ThoughtState], layout: Layout) -> None:
            if len(layout.prefix) + layout.slots * layout.tokens > tokens:
                raise error
            admit(thoughts, layout)

        batch.admit = limited_admit
        return batch

    model.encode, model.start_batch = limited_encode, limited_batch
    return tried


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_documents_continue_in_smaller_batches(tiny: Path, error: Exception) -> None:
    whole = T1Embedder.load(tiny, dtype="float32").embed_documents(TEXTS).vectors
    embedder = T1Embedder.load(tiny, dtype="float32")
    tried = limit(embedder, 600, error)
    finished: list[int] = []
    with pytest.warns(OutOfMemoryWarning) as caught:
        halved = embedder.embed_documents(TEXTS, on_done=finished.append)
    assert cosines(halved.vectors, whole).min() >= 0.9999
    assert sum(finished) == len(TEXTS)
    assert max(tokens for tokens in tried if tokens <= 600) > 300
    assert f"{tried[0]} tokens in a forward pass: continuing with {tried[0] // 2}" in str(caught[0].message)
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


def test_thoughts_continue_in_smaller_batches(tiny: Path) -> None:
    whole = T1Embedder.load(tiny, dtype="float32").embed_queries(TEXTS, budget=6)
    embedder = T1Embedder.load(tiny, dtype="float32")
    limit(embedder, 300, ERRORS[0])
    with pytest.warns(OutOfMemoryWarning, match="out of memory on cpu"):
        halved = embedder.embed_queries(TEXTS, budget=6)
    assert [query.thoughts for query in halved] == [query.thoughts for query in whole]
    assert cosines(*(np.stack([query.vector for query in queries]) for queries in (halved, whole))).min() >= 0.9999


def test_a_single_text_that_does_not_fit(tiny: Path) -> None:
    embedder = T1Embedder.load(tiny)
    limit(embedder, 100, ERRORS[0])
    with (
        pytest.warns(OutOfMemoryWarning),
        pytest.raises(BackendError, match=r"out of memory on cpu with a single text of 137 tokens.*smaller dtype"),
    ):
        embedder.embed_documents(TEXTS)


def test_other_errors_are_raised(tiny: Path) -> None:
    embedder = T1Embedder.load(tiny)
    limit(embedder, 0, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        embedder.embed_documents(TEXTS)


@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as on Linux")
def test_a_process_with_limited_memory(tiny: Path) -> None:
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
    # The limit is on addresses. malloc would reserve 64 MB of them for each thread, and keep freed ones.
    malloc = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, env={**os.environ, **malloc}
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 1
