"""Measure searches whose thoughts are cached: in one process, and as a whole ``t1 search``.

    python -m benchmarks.cached_search [--searches 200] [--processes 9] [--json FILE]

The bundled model, and the corpus and queries of ``t1 demo`` in a folder. The time of a search is compared with that of
the same search without a cache, and a whole process with one that only imports torch.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import t1_vectorstore.cli
from t1_vectorstore import Document, T1Embedder, T1VectorStore

DEMO = Path(t1_vectorstore.cli.__file__).parent
T1 = "import sys; from t1_vectorstore.cli import main; sys.argv[0] = 't1'; main()"
MODULES = "import atexit, sys; atexit.register(lambda: print('LOADED', *sys.modules)); "


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print the figures, and return them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--searches", type=int, default=200)
    parser.add_argument("--processes", type=int, default=9)
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), options.searches, options.processes)
    print("\n".join(f"{name}: {value}" for name, value in figures.items()))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return figures


def measure(folder: Path, searches: int, processes: int) -> dict[str, Any]:
    """Return the times of searches and of processes."""
    queries = [json.loads(line)["query"] for line in (DEMO / "demo_queries.jsonl").read_text("utf-8").splitlines()]
    with gzip.open(DEMO / "demo_corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        documents = [Document(**json.loads(line)) for line in lines]
    embedder = T1Embedder.load(cache=folder / "cache")
    with T1VectorStore.open(folder / "index", embedder) as store:
        store.add(documents)
        plain_store = T1VectorStore(T1Embedder.load(), store.collection)
        for query in queries:
            store.search(query)
        chosen = [queries[number % len(queries)] for number in range(searches)]
        cached = statistics.median(_seconds(lambda query=query: store.search(query)) for query in chosen)  # type: ignore[misc]
        plain = statistics.median(
            _seconds(lambda query=query: plain_store.search(query))  # type: ignore[misc]
            for query in chosen[: max(searches // 10, 1)]
        )
        assert all(store.search(query).cached for query in queries)

    environment = {**os.environ, "T1_CACHE_DIR": str(folder / "cli")}
    command = [sys.executable, "-c", T1, "search", str(folder / "index"), queries[0]]
    subprocess.run(command, env=environment, check=True, capture_output=True)  # not cached yet
    command[2] = MODULES + T1
    shown = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    assert "cached" in shown
    command[2] = T1
    torch = [sys.executable, "-c", "import torch"]
    whole, bare = [], []
    for _ in range(processes):
        whole.append(_cpu_seconds(command, environment))
        bare.append(_cpu_seconds(torch, environment))
    return {
        "cached search, median ms": round(1e3 * cached, 2),
        "search without a cache, median ms": round(1e3 * plain, 1),
        "cached t1 search, median CPU s": round(statistics.median(whole), 3),
        "cached t1 search, least CPU s": round(min(whole), 3),
        "importing torch, median CPU s": round(statistics.median(bare), 3),
        "torch imported by a cached t1 search": "torch" in shown.splitlines()[-1].split(),
    }


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _cpu_seconds(command: Sequence[str], environment: dict[str, str]) -> float:
    child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    usage = os.wait4(child.pid, 0)[2]
    child.returncode = 0
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
