"""Threads that share a model: throughput and latency, compared with a lock around it, and queries during a load.

    python -m benchmarks.concurrent_clients [--models t1-mini 46M] [--clients 16] [--rounds 5] [--json FILE]

Each client is a thread that sends one thinking query after the other. In each round the same queries run through the
shared model and through a lock that admits one call at a time. Then one client's queries run alone, and while other
threads embed documents without a pause. Ratios are medians of the rounds' own ratios; those of CPU time are queries per
second of this process's CPU time, which other work on the machine changes little. t1-mini gets questions of the demo.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed.workload import FACTS, SHAPES, prepare
from t1_vectorstore import T1Embedder

Clients = dict[str, float]


def main(argv: Sequence[str] | None = None) -> None:
    """Print tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["t1-mini", "46M"], choices=["t1-mini", *SHAPES])
    parser.add_argument("--clients", type=int, default=16, help="number of threads with thinking queries")
    parser.add_argument("--queries", type=int, default=2, help="number of queries of each client")
    parser.add_argument("--loaders", type=int, default=2, help="number of threads that embed documents")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--budget", type=int, default=64)
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    options = parser.parse_args(argv)
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for model in options.models:
            work = prepare(model, Path(folder), documents=32)
            embedder = T1Embedder.load(work.folder)
            count = options.clients * options.queries
            questions = (
                demo_questions(count) if model == "t1-mini" else [f"{at} {work.texts[0][:40]}" for at in range(count)]
            )
            queries = [questions[at :: options.clients] for at in range(options.clients)]
            bench = Bench(embedder, work.texts, queries, options.loaders, options.budget)
            bench.warm_up()
            figures[model] = [bench.round() for _ in range(options.rounds)]
    print_tables(figures, options.clients)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def demo_questions(count: int) -> list[str]:
    """Return questions of the demo, again from the first one after the last."""
    lines = FACTS.with_name("demo_queries.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["query"] for line in islice(cycle(lines), count)]


class Bench:
    """The work of a round."""

    def __init__(
        self, embedder: T1Embedder, texts: Sequence[str], queries: Sequence[Sequence[str]], loaders: int, budget: int
    ) -> None:
        """Take documents, and the queries of each client."""
        self._embedder, self._texts, self._budget = embedder, list(texts), budget
        self._queries, self._loaders = queries, loaders
        self._lock = threading.Lock()

    def warm_up(self) -> None:
        """Run a few queries, so that nothing is computed for the first time in a round."""
        self._clients([queries[:1] for queries in self._queries], nullcontext())

    def round(self) -> dict[str, Clients]:
        """Return the figures of each part."""
        alone = [query for client in self._queries for query in client][:16]
        return {
            "shared": self._clients(self._queries, nullcontext()),
            "locked": self._clients(self._queries, self._lock),
            "idle": self._clients([alone], nullcontext()),
            "loading": self._loading(alone),
            "load alone": {"documents": self._load_alone()},
        }

    def _clients(self, clients: Sequence[Sequence[str]], guard: AbstractContextManager[Any]) -> Clients:
        """Let each client send its queries; return seconds and queries per second."""
        taken: list[float] = []

        def client(queries: Sequence[str]) -> None:
            for query in queries:
                started = time.perf_counter()
                with guard:
                    self._embedder.embed_query(query, budget=self._budget)
                taken.append(time.perf_counter() - started)

        started, cpu = time.perf_counter(), time.process_time()
        with ThreadPoolExecutor(len(clients)) as threads:
            list(threads.map(client, clients))
        rate, of_cpu = len(taken) / (time.perf_counter() - started), len(taken) / (time.process_time() - cpu)
        p50, p95 = np.percentile(taken, [50, 95]).tolist()
        return {"rate": rate, "rate of CPU": of_cpu, "p50": p50, "p95": p95}

    def _loading(self, queries: Sequence[str]) -> Clients:
        """Send queries while documents are embedded."""
        with _Load(self._embed, self._loaders) as load:
            return self._clients([queries], nullcontext()) | {"documents": load.rate()}

    def _load_alone(self) -> float:
        with _Load(self._embed, self._loaders) as load:
            time.sleep(1)
            return load.rate()

    def _embed(self) -> int:
        self._embedder.embed_documents(self._texts)
        return len(self._texts)


class _Load:
    """Threads that call a function again and again."""

    def __init__(self, embed: Callable[[], int], threads: int) -> None:
        self._embed, self._threads = embed, ThreadPoolExecutor(threads)
        self._count, self._done = threads, 0
        self._ended = threading.Event()

    def __enter__(self) -> _Load:
        self._started = time.perf_counter()
        self._futures = [self._threads.submit(self._run) for _ in range(self._count)]
        time.sleep(0.2)
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._threads.shutdown()

    def rate(self) -> float:
        """End the load, and return documents per second."""
        self._ended.set()
        for future in self._futures:
            self._done += future.result()
        return self._done / (time.perf_counter() - self._started)

    def _run(self) -> int:
        done = 0
        while not self._ended.is_set():
            done += self._embed()
        return done


def print_tables(figures: dict[str, list[dict[str, Clients]]], clients: int) -> None:
    """Print a table of the clients, and one of the queries during a load."""

    def ratio(rounds: list[dict[str, Clients]], a: str, b: str, figure: str) -> float:
        return statistics.median(each[a][figure] / each[b][figure] for each in rounds)

    def middle(rounds: list[dict[str, Clients]], part: str, figure: str) -> float:
        return statistics.median(each[part][figure] for each in rounds)

    print(f"| model | {clients} clients | queries/s | p50, s | p95, s | queries/s, ratio | of CPU time | p95, ratio |")
    print("|---|---|---|---|---|---|---|---|")
    for model, rounds in figures.items():
        for part in ("shared", "locked"):
            cells = " | ".join(f"{middle(rounds, part, figure):.3g}" for figure in ("rate", "p50", "p95"))
            ratios = " | ".join(
                f"{ratio(rounds, 'shared', 'locked', figure):.2f} x" for figure in ("rate", "rate of CPU", "p95")
            )
            print(f"| {model} | {part} | {cells} | {ratios if part == 'shared' else ' | | '} |")
    print("\n| model | one client | p50, s | p95, s | p95 over idle | documents/s | over the load alone |")
    print("|---|---|---|---|---|---|---|")
    for model, rounds in figures.items():
        for part in ("idle", "loading"):
            cells = " | ".join(f"{middle(rounds, part, figure):.3g}" for figure in ("p50", "p95"))
            over = f"{ratio(rounds, part, 'idle', 'p95'):.2f} x"
            documents = " | "
            if part != "idle":
                share = ratio(rounds, part, "load alone", "documents")
                documents = f"{middle(rounds, part, 'documents'):.0f} | {share:.2f} x"
            print(f"| {model} | {part} | {cells} | {over} | {documents} |")


if __name__ == "__main__":
    main()
